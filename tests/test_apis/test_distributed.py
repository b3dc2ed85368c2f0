"""Two processes train one model, without a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def torchrun(*args: str) -> None:
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    result = subprocess.run(
        [*command, '--nproc_per_node=2', *args],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize('options', [[], ['--diff-rank-seed']])
def test_ranks_draw_alike_and_end_equal(tmp_path, options):
    torchrun('-m', 'tests.dist_worker', str(tmp_path), *options)
    one, two = (
        torch.load(tmp_path / f'rank_{rank}.pth', weights_only=True) for rank in (0, 1)
    )
    assert one['seen'] != two['seen'], 'both ranks trained on the same images'
    assert one['drawn'] == two['drawn']
    assert len({str(step) for step in one['drawn']}) > 1
    assert one['find_unused_parameters'] and two['find_unused_parameters']
    assert one['state_dict'].keys() == two['state_dict'].keys()
    for name, tensor in one['state_dict'].items():
        assert torch.equal(tensor, two['state_dict'][name]), name
    masks = [t for n, t in one['state_dict'].items() if n.endswith('_active')]
    assert len(masks) == 2 and all((mask.sum(1) == 2).all() for mask in masks)


def test_shell_scripts_train_and_test(tmp_path):
    """dist_train.sh and dist_test.sh on the embedded task; one process can't go on."""
    env = dict(os.environ, PORT='29613')
    env['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{env["PATH"]}'
    config = 'configs/dmlora/vit-tiny_digits.py'
    common = [f'--work-dir={tmp_path}', '--cfg-options', 'train_cfg.max_epochs=4']

    def shell(*args):
        result = subprocess.run(
            ['bash', *args], cwd=ROOT, env=env, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stderr + result.stdout

    shell('tools/dist_train.sh', config, '2', *common)
    checkpoint = tmp_path / 'epoch_4.pth'
    assert checkpoint.is_file() and (tmp_path / 'merged.pth').is_file()
    out = shell('tools/dist_test.sh', config, str(checkpoint), '2', *common[:1])
    assert 'accuracy/top1' in out

    content = checkpoint.read_bytes()
    alone = subprocess.run(
        [sys.executable, 'tools/train.py', config, '--resume', *common],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
    )
    assert alone.returncode == 1 and 'Traceback' not in alone.stderr
    assert 'with processes=2, but this one has processes=1' in alone.stderr
    assert checkpoint.read_bytes() == content

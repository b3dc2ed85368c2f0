"""A disk that fills up while a checkpoint is written: a tmpfs of its own, in Linux."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.soak_resume import differences

ROOT = Path(__file__).parents[2]
MOUNT = 'mount -t tmpfs -o size={size} none {folder}'


def can_mount(folder: Path) -> bool:
    folder.mkdir()
    command = ['unshare', '-m', 'sh', '-c', MOUNT.format(size='1m', folder=folder)]
    return shutil.which('unshare') and subprocess.run(command).returncode == 0


def train(work_dir: Path, *options: str) -> str:
    config = ROOT / 'configs/dmlora/vit-tiny_digits.py'
    return (
        f'{sys.executable} {ROOT}/tools/train.py {config} --work-dir {work_dir} '
        f'{" ".join(options)} --cfg-options train_cfg.max_epochs=8 '
        'train_cfg.val_interval=1 train_dataloader.num_batch_per_epoch=2 '
        'default_hooks.checkpoint.interval=1'
    )


def shell(script: str, isolated: bool = True) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*(['unshare', '-m'] if isolated else []), 'sh', '-c', script],
        capture_output=True,
        text=True,
    )


def test_full_disk(tmp_path):
    disk, run, saved = tmp_path / 'disk', tmp_path / 'disk' / 'run', tmp_path / 'saved'
    if not can_mount(disk):
        pytest.skip('needs Linux and the right to mount')
    result = shell(
        f'{MOUNT.format(size="2m", folder=disk)}\n{train(run)}\n code=$?\n'
        f'cp -r {run} {saved}; exit $code'
    )
    assert result.returncode == 1, result.stderr
    assert 'Traceback' not in result.stderr
    message = result.stderr[result.stderr.index('error:') :]
    assert re.search(r'epoch_2\.pth: No space left on device', message), message
    assert '--resume' in message

    last = (saved / 'last_checkpoint').read_text()
    torch.load(saved / Path(last).name, weights_only=True)
    result = shell(train(saved, '--resume'), isolated=False)
    assert result.returncode == 0, result.stderr
    assert shell(train(tmp_path / 'whole'), isolated=False).returncode == 0
    assert not differences(tmp_path / 'whole', saved)

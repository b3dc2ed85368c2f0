"""mmsegmentation's own tools train, kill, resume, test and load what was merged."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.test_examples.segmentation import (
    MAX_ITERS,
    ROOT,
    TINY,
    make_images,
    write_config,
)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('mmseg') is None, reason='mmsegmentation is not installed'
)
# The logits of the merged file, in a process without this package.
LOGITS = """
import sys
from tests.mmcv_ops import stand_in_for_missing_ops
stand_in_for_missing_ops()
import torch
from mmseg.apis import inference_model, init_model
model = init_model(sys.argv[1], sys.argv[2], device='cpu')
torch.manual_seed(0)
with torch.no_grad():
    logits = model.encode_decode(torch.randn(2, 3, 64, 64), [dict(
        ori_shape=(64, 64), img_shape=(64, 64), pad_shape=(64, 64))] * 2)
mask = inference_model(model, sys.argv[3]).pred_sem_seg.data
assert not [name for name in sys.modules if name.split('.')[0] == 'mmdmlora']
torch.save((logits, mask, model.dataset_meta['classes']), sys.argv[4])
"""
WRAPPED = """
import sys
from tests.mmcv_ops import stand_in_for_missing_ops
stand_in_for_missing_ops()
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
import mmseg.models
from mmseg.registry import MODELS
config = Config.fromfile(sys.argv[1])
init_default_scope('mmseg')
set_random_seed(0)
model = MODELS.build(config.model)
state = torch.load(sys.argv[2], weights_only=True)['state_dict']
model.load_state_dict(state, strict=True)
model.eval()
torch.manual_seed(0)
with torch.no_grad():
    logits = model.encode_decode(torch.randn(2, 3, 64, 64), [dict(
        ori_shape=(64, 64), img_shape=(64, 64), pad_shape=(64, 64))] * 2)
torch.save(logits, sys.argv[3])
"""


def python(*arguments, expected=0):
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert result.returncode == expected, result.stderr[-3000:]
    return result.stdout + result.stderr


def tool(name, *arguments, expected=0):
    return python(
        '-m', 'tests.test_examples.segmentation', name, *arguments, expected=expected
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('segmentation')
    make_images(folder / 'data')
    return folder


@pytest.fixture(scope='module')
def trained(folder) -> Callable[[str], tuple[Path, Path]]:
    """Trains an example once: its config and its working directory."""

    @cache
    def train(name: str) -> tuple[Path, Path]:
        config = write_config(name, folder)
        tool('train', config, '--work-dir', folder / name)
        return config, folder / name

    return train


@pytest.mark.parametrize('name', TINY)
def test_example(name, folder, trained):
    config, whole = trained(name)
    last = whole / f'iter_{MAX_ITERS}.pth'
    summary = json.loads((whole / 'summary.json').read_text())
    assert summary['active branches'] == '1 of 3' and 'test mIoU' in summary
    log = '\n'.join(file.read_text() for file in whole.glob('*/*.log'))
    for line in ('Iteration 3: branches 3 -> 2', 'Iteration 5: branches 2 -> 1'):
        assert line in log
    assert 'Iteration 5: trains branches' in log

    stock, merged = whole / 'merged.py', whole / 'merged.pth'
    assert 'mmdmlora' not in stock.read_text()
    image = folder / 'data/images/validation/0.jpg'
    python('-c', LOGITS, stock, merged, image, whole / 'merged_logits.pt')
    python('-c', WRAPPED, config, last, whole / 'logits.pt')
    logits, mask, classes = torch.load(whole / 'merged_logits.pt')
    expected = torch.load(whole / 'logits.pt')
    assert logits.shape == (2, 150, 64, 64) and mask.shape == (1, 80, 80)
    assert tuple(classes[:2]) == ('wall', 'building')
    assert (logits - expected).abs().max() < 1e-5 * expected.abs().max()
    if name == 'upernet_swin-t_ade20k':
        for tested in ((config, last), (stock, merged)):
            said = tool('test', *tested, '--work-dir', folder / 'test')
            assert f'mIoU: {summary["test mIoU"]:.4f}' in said


def test_a_killed_run_goes_on_exactly(folder, trained):
    name = 'upernet_swin-t_ade20k'
    config, whole = trained(name)
    killed = folder / 'killed'
    dies = write_config(name, folder, kill_at=3)
    tool('train', dies, '--work-dir', killed, expected=-signal.SIGKILL)
    assert (killed / 'last_checkpoint').read_text().endswith('iter_3.pth')
    tool('train', config, '--work-dir', killed, '--resume')
    one, other = (
        torch.load(w / f'iter_{MAX_ITERS}.pth', weights_only=True)
        for w in (whole, killed)
    )
    for key in one['state_dict'].keys() | other['state_dict'].keys():
        assert torch.equal(one['state_dict'][key], other['state_dict'][key]), key
    losses = [str(c['message_hub']['log_scalars']['train/loss']) for c in (one, other)]
    assert losses[0] == losses[1]

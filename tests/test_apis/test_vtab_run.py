"""The VTAB-1k config on a user's tree and a user's checkpoint, through the tool."""

import json

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from mmdmlora.datasets import vtab_task
from tests.test_cli.test_errors import ROOT, run
from tests.trees import make_vtab_task

CONFIG = ROOT / 'configs/dmlora/vit-b16_vtab-dtd.py'
ARCH = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)
CHILD = f"""_base_ = {str(CONFIG)!r}
model = dict(
    backbone=dict(module=dict(arch=dict(_delete_=True, **{ARCH}))),
    head=dict(in_channels=24),
)
train_dataloader = dict(batch_size=4, num_workers=0)
test_dataloader = dict(num_workers=0)
train_cfg = dict(max_epochs=12)
"""
COUNTS = dict(train800=8, val200=4, train800val200=12, test=6)


@pytest.fixture
def files(tmp_path):
    """A tree in the users' layout and a checkpoint with mmpretrain's names."""
    make_vtab_task(tmp_path / 'vtab-1k', 'dtd', vtab_task('dtd').num_classes, COUNTS)
    torch.manual_seed(3)
    backbone = MODELS.build(
        dict(type='VisionTransformer', arch=ARCH, img_size=224, patch_size=16)
    )
    state = {f'backbone.{k}': v for k, v in backbone.state_dict().items()}
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'vit.pth')
    (tmp_path / 'tiny.py').write_text(CHILD)
    return tmp_path


def test_trains_tests_and_merges(files):
    result = run(
        'train.py',
        str(files / 'tiny.py'),
        f'--work-dir={files}/out',
        f'--data-root={files}/vtab-1k',
        f'--weights={files}/vit.pth',
    )
    assert result.returncode == 0, result.stderr[-3000:]
    summary = json.loads((files / 'out' / 'summary.json').read_text())
    assert 0 <= summary['test accuracy/top1'] <= 100
    assert summary['active branches'] == '6 of 8'
    frozen = torch.load(files / 'vit.pth')['state_dict']
    merged = torch.load(files / 'out' / 'merged.pth')['state_dict']
    for name, tensor in frozen.items():
        assert torch.equal(tensor, merged[name]) != ('qkv.weight' in name), name
    k_rows = slice(24, 48)
    name = 'backbone.layers.0.attn.qkv.weight'
    assert torch.equal(merged[name][k_rows], frozen[name][k_rows])
    stock = Config.fromfile(files / 'out' / 'merged.py')
    MODELS.build(stock.model).load_state_dict(merged, strict=True)

"""The examples for mmsegmentation at a tiny size; as a script, one of its stock tools.

python -m tests.test_examples.segmentation train CONFIG --work-dir DIR
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from pathlib import Path

import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.utils import get_installed_path
from PIL import Image

from tests.mmcv_ops import stand_in_for_missing_ops

ROOT = Path(__file__).parents[2]
LABELS = 4
SIZE = 64
MAX_ITERS = 8
TINY = {
    'upernet_swin-t_ade20k': dict(
        module=dict(
            arch=dict(
                _delete_=True, embed_dims=8, depths=[1] * 4, num_heads=[1, 2, 2, 4]
            ),
            img_size=64,
        ),
        channels=[8, 16, 32, 64],
    ),
    'upernet_convnext-t_ade20k': dict(
        module=dict(arch=dict(_delete_=True, depths=[1] * 4, channels=[8, 16, 32, 48])),
        channels=[8, 16, 32, 48],
    ),
    'fcn_vit-b16_ade20k': dict(
        module=dict(
            arch=dict(
                _delete_=True,
                embed_dims=24,
                num_layers=2,
                num_heads=2,
                feedforward_channels=48,
            ),
            img_size=64,
        ),
        channels=24,
    ),
}


@HOOKS.register_module()
class KillHook(Hook):
    """Kills its process before an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)


def make_images(root: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ('training', 'validation'):
        for kind in ('images', 'annotations'):
            (root / kind / split).mkdir(parents=True)
        for index in range(6):
            labels = rng.integers(0, LABELS + 1, (4, 4)).repeat(20, 0).repeat(20, 1)
            image = labels[..., None] * 50 + rng.integers(0, 30, (80, 80, 3))
            file = f'{split}/{index}'
            Image.fromarray(image.astype('u1')).save(root / f'images/{file}.jpg')
            Image.fromarray(labels.astype('u1')).save(root / f'annotations/{file}.png')


def write_config(name: str, folder: Path, kill_at: int | None = None) -> Path:
    """A child of an example with a tiny backbone, tiny images and eight iterations."""
    tiny = TINY[name]
    norm = "norm_cfg=dict(type='BN')"
    has_auxiliary = name.startswith('upernet')
    auxiliary = (
        f'auxiliary_head=dict({norm}, in_channels={tiny["channels"][2]}, channels=8),'
        if has_auxiliary
        else ''
    )
    hooks = f"[dict(type='KillHook', iteration={kill_at})]" if kill_at else '[]'
    text = f"""
_base_ = [{str(ROOT / 'configs/examples' / (name + '.py'))!r}]
custom_imports = dict(imports=['mmdmlora'])
model = dict(
    data_preprocessor=dict(size=({SIZE}, {SIZE})),
    backbone=dict(
        rank=2, num_branches=3, module=dict(init_cfg=None, **{tiny['module']!r})),
    decode_head=dict({norm}, in_channels={tiny['channels']!r}, channels=8),
    {auxiliary}
    test_cfg=dict(_delete_=True, mode='whole'),
)
data_root = {str(folder / 'data')!r}
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='RandomCrop', crop_size=({SIZE}, {SIZE})),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=({SIZE}, {SIZE})),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs'),
]
_few = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    batch_size=2, **_few, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(**_few, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = dict(**_few, dataset=dict(data_root=data_root, pipeline=test_pipeline))
train_cfg = dict(max_iters={MAX_ITERS}, val_interval=4)
default_hooks = dict(
    checkpoint=dict(interval=3),
    logger=dict(interval=1),
    branch_pruning=dict(interval=0.25),
)
optim_wrapper = dict(accumulative_counts=2)
custom_hooks = {hooks}
"""
    file = folder / f'{name}{"_killed" if kill_at else ""}.py'
    file.write_text(text)
    return file


if __name__ == '__main__':
    tool, *arguments = sys.argv[1:]
    stand_in_for_missing_ops()
    path = Path(get_installed_path('mmsegmentation')) / '.mim' / 'tools' / f'{tool}.py'
    sys.argv = [str(path), *arguments]
    runpy.run_path(str(path), run_name='__main__')

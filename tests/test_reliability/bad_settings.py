"""Settings of tools/train.py that a run can't use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from tests.test_reliability.tool import DMLORA, contents, train


def _setting(*options: str) -> Callable[[Path], str]:
    """Settings of the embedded task's config that are refused before any step."""

    def case(folder: Path) -> str:
        message = train(folder, *options)
        assert not list(folder.rglob('*.pth'))
        return message

    return case


def _config(text: str) -> Callable[[Path], str]:
    """A config file of the user's that is derived from that of the embedded task."""

    def case(folder: Path) -> str:
        file = folder / 'config.py'
        file.write_text(f'_base_ = {DMLORA!r}\n{text}\n')
        return train(folder, config=file)

    return case


def _targets(targets: str) -> Callable[[Path], str]:
    return _config(f'model = dict(backbone=dict(targets={targets}))')


def _learning_rate(folder: Path) -> str:
    """The first epoch is fine; the next one is not."""
    message = train(
        folder,
        'optim_wrapper.optimizer.lr=1e20',
        'default_hooks.checkpoint.interval=1',
        'train_cfg.max_epochs=4',
        'param_scheduler.0.start_factor=1e-23',
        'param_scheduler.0.convert_to_iter_based=False',
    )
    assert (folder / 'run/epoch_1.pth').is_file()
    assert not (folder / 'run/epoch_2.pth').exists()
    return message


def _best_of_nothing(folder: Path) -> str:
    message = train(
        folder,
        'default_hooks.checkpoint.save_best=accuracy/top5',
        'default_hooks.checkpoint.interval=1',
        'train_cfg.val_interval=1',
        'train_dataloader.num_batch_per_epoch=1',
    )
    assert (folder / 'run/epoch_1.pth').is_file()
    return message


def _without_processes(folder: Path) -> str:
    before = contents(folder)
    message = train(folder, 'launcher=pytorch')
    assert contents(folder) == before
    return message


def _without_launcher(folder: Path) -> str:
    with mock.patch.dict(os.environ, RANK='0', WORLD_SIZE='2'):
        message = train(folder)
    assert not list(folder.rglob('*.pth'))
    return message


OPTIONS = (
    'model.backbone.rank=0',
    'model.backbone.rank=97',
    'model.backbone.rank=eight',
    'model.backbone.num_branches=-2',
    'model.backbone.scale=0',
    'model.backbone.drop_rate=1',
    'model.backbone.rnak=4',
    'model.backbone.type=DMLoraModel',
    'modle.backbone.rank=4',
    'method.rank=4',
    'num_classes=7',
    'input_size=64',
    'train_pipeline=[]',
    'model.head.num_classes=7',
    'model.backbone.learn_scale=False',
    'default_hooks.branch_pruning.interval=20',
    'default_hooks.branch_pruning.interval=1/3',
    'default_hooks.branch_pruning.interval=0.4',
    'default_hooks.branch_pruning.interval=0',
    'default_hooks.branch_pruning.min_branches=9',
    'default_hooks.branch_pruning.num_pruned=2',
    'default_hooks.branch_pruning.criterion=largest',
    'default_hooks.branch_prunning.interval=5',
    'default_hooks.checkpoint.interval=60sec',
    'default_hooks.learning_scalar.stages=Z',
    'default_hooks.ema.type=EmaHook',
    'optim_wrapper.optimizer.lr=fast',
    'optim_wrapper.optimizer.type=Adamw',
    'optim_wrapper.type=AmpOptimWrapper',
    'model.backbone.frozen_dtype=float16',
    'env_cfg.allow_tf32=maybe',
    'compile=always',
    'train_cfg.max_epochs=-1',
    'train_cfg.max_epochs=3',
    'train_cfg.max_epoch=30',
    'train_cfg.val_interval=0',
    'train_dataloader.batch_size=1000',
    'train_dataloader.batch_size=0',
    'train_dataloader.dataset.split=train',
    'train_dataloader.dataset.type=Digit',
    'randomness.seed=x',
)
CASES = {f'`{option}`': _setting(option) for option in OPTIONS} | {
    '`optim_wrapper.optimizer.lr=1e20` after an epoch of training': _learning_rate,
    '`default_hooks.checkpoint.save_best=accuracy/top5`': _best_of_nothing,
    '`launcher=pytorch` without torchrun': _without_processes,
    'torchrun without `--launcher`': _without_launcher,
    "a target `type='qkvv'`": _targets("[dict(type='qkvv')]"),
    "a target `type='ln1'`": _targets("[dict(type='ln1')]"),
    "a target `type='('`": _targets("[dict(type='(', rank=1)]"),
    "a target `type='attn.proj', parts=('q',)`": _targets(
        "[dict(type='attn.proj', parts=('q',))]"
    ),
    "a target `type='qkv', parts=('q', 'x')`": _targets(
        "[dict(type='qkv', parts=('q', 'x'))]"
    ),
    "a target `type='qkv', alpha=2`": _targets("[dict(type='qkv', alpha=2)]"),
    'no targets': _targets('[]'),
    'a config with a head without `num_classes`': _config(
        "model = dict(head=dict(_delete_=True, type='LinearClsHead', in_channels=96))"
    ),
}

"""The configs of the compared runs: from a stock one, part by part, to ours."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ...checks import check_schedule
from ...compose import load_config
from ...locations import config_root

# mmpretrain's _base_/default_runtime.py and _base_/datasets/imagenet_bs64_pil_resize.py.
STOCK_WORKERS = dict(num_workers=5, persistent_workers=True)
STOCK_HOOKS = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='VisualizationHook', enable=False),
)
SHARED = (
    'data_preprocessor',
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'train_cfg',
    'val_cfg',
    'test_cfg',
    'val_evaluator',
    'test_evaluator',
    'param_scheduler',
    'env_cfg',
    'vis_backends',
    'visualizer',
)
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
FROZEN_DTYPE = 'model.backbone.frozen_dtype'
SLOW: dict[str, Any] = {
    FROZEN_DTYPE: None,
    'default_hooks.checkpoint.interval': 1,
    'default_hooks.merged_evaluation': None,
    'default_hooks.runtime_info': dict(type='mmengine.RuntimeInfoHook'),
    'train_cfg.val_interval': 1,
    **{f'{loader}.dataset.cache': None for loader in LOADERS[:2]},
    **{f'{loader}.{k}': v for loader in LOADERS for k, v in STOCK_WORKERS.items()},
}


@dataclass(frozen=True)
class Stage:
    """One of the compared runs.

    Attributes:
        name: What to call it in the table.
        method: A file of ``configs/_base_/methods``, or None for stock mmpretrain.
        slow: Those settings of ``SLOW`` that it still has.
        is_bfloat16: Whether it trains in bfloat16.
    """

    name: str
    method: str | None
    slow: tuple[str, ...] = ()
    is_bfloat16: bool = False


def stages(methods: tuple[str, ...], dtype: str, parts: bool) -> list[Stage]:
    """The stock run, what it gains part by part with the first method, and all methods.

    Args:
        methods: Files of ``configs/_base_/methods``.
        dtype: What ours train in, ``float32`` or ``bfloat16``.
        parts: Whether the runs in between are wanted.
    """
    is_bfloat16 = dtype == 'bfloat16'
    found = [Stage('mmpretrain, stock', None)]
    first = methods[0]
    left = list(SLOW)
    steps = [
        (f'{first}, the same pipeline', ()),
        ('+ images in memory', ('dataset.cache', 'workers')),
        ('+ bfloat16', ()),
        ('+ frozen weights in bfloat16', ('frozen_dtype',)),
        ('+ evaluation on merged weights', ('merged_evaluation',)),
        ('+ validation every 5 epochs', ('val_interval',)),
        ('+ checkpoints by time', ('checkpoint',)),
        ('+ losses read when logged', ('runtime_info',)),
    ]
    uses_bfloat16 = False
    for name, gone in steps if parts else ():
        if name.endswith('bfloat16'):
            if not is_bfloat16:
                continue
            uses_bfloat16 = True
        left = [key for key in left if not any(word in key for word in gone)]
        found.append(Stage(name, first, tuple(left), uses_bfloat16))
    if parts:
        found.pop()  # the last of them is the first method's own run
    found += [Stage(f'{method}, ours', method, (), is_bfloat16) for method in methods]
    return found


def config_of(
    stage: Stage, backbone: str, weights: Path, photos: Path, classes: int, epochs: int
) -> Config:
    """The config of a run.

    LoRA adapts the whole qkv, as mmpretrain's does, so that accuracies can be compared.

    Args:
        stage: Which one.
        backbone: A file of ``configs/_base_/backbones``.
        weights: A state dict of that backbone.
        photos: See :func:`~mmdmlora.apis.benchmark.end_to_end.photos.write_photos`.
        classes: Number of classes there.
        epochs: Number of epochs.

    Raises:
        ValueError: If the epochs don't outlast the warm-up.
    """
    name = f'{stage.method or "lora"}/{backbone}_digits.py'
    config = load_config(config_root() / name)
    _use_photos(config, photos, epochs)
    check_schedule(config)
    config.model.head.num_classes = classes
    if stage.method == 'lora':
        config.model.backbone.targets = [dict(type='qkv')]  # as mmpretrain's LoRA has it
    module = config.model.backbone.get('module', config.model.backbone)
    module.init_cfg = dict(type='Pretrained', checkpoint=str(weights))
    if stage.method is None:
        return _stock(config)
    changes = {key: SLOW[key] for key in stage.slow}
    if stage.is_bfloat16:
        config.optim_wrapper.type = 'mmdmlora.BFloat16OptimWrapper'
        changes = {FROZEN_DTYPE: 'bfloat16'} | changes
    if stage.method == 'full':  # which freezes nothing
        changes.pop(FROZEN_DTYPE, None)
    config.merge_from_dict(changes)
    return config


def _use_photos(config: Config, photos: Path, epochs: int) -> None:
    config.train_cfg.max_epochs = epochs
    for loader, part in zip(LOADERS, ('train', 'val', 'test'), strict=True):
        steps = config[loader].dataset.pipeline
        config[loader].dataset = dict(
            type='CustomDataset',
            data_root=str(photos),
            data_prefix=part,
            pipeline=[dict(type='LoadImageFromFile'), *steps],
            test_mode=part != 'train',
        )
        if part != 'test':
            config[loader].dataset.cache = 'memory'


def _stock(config: Config) -> Config:
    """mmpretrain's LoRA with its own hooks, loop and workers, and nothing of ours."""
    stock = Config({key: copy.deepcopy(config[key]) for key in SHARED})
    stock.default_scope = 'mmpretrain'
    stock.model = copy.deepcopy(config.model)
    wrapper = stock.model.backbone
    stock.model.backbone = dict(
        type='LoRAModel',
        module=wrapper.module,
        rank=wrapper.rank,
        alpha=wrapper.scale * wrapper.rank,
        targets=[dict(type=r'.*\.qkv')],
    )
    optimizer = copy.deepcopy(config.optim_wrapper.optimizer)
    stock.optim_wrapper = dict(type='OptimWrapper', optimizer=optimizer)
    stock.default_hooks = copy.deepcopy(STOCK_HOOKS)
    stock.train_cfg.val_interval = 1
    for loader in LOADERS:
        stock[loader].dataset.pop('cache', None)
        stock[loader].update(STOCK_WORKERS)
    return stock

"""A short training of a tiny wrapped classifier on the digits, through the Runner."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from mmengine.config import Config
from mmengine.runner import Runner

from tests.tiny import classifier_config

DMLORA = dict(type='mmdmlora.DMLoRAModel', rank=2, num_branches=4, learn_scale=True)


def config(
    work_dir: Path,
    wrapper: dict = DMLORA,
    backbone: str = 'vit',
    epochs: int = 3,
    hooks: dict | None = None,
    **overrides,
) -> Config:
    """Two steps of eight images in each epoch, then sixteen images for validation."""

    def loader(split: str, shuffle: bool) -> dict:
        return dict(
            batch_size=8,
            num_batch_per_epoch=2,
            collate_fn=dict(type='default_collate'),
            dataset=dict(
                type='Digits',
                split=split,
                pipeline=[dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')],
            ),
            sampler=dict(type='DefaultSampler', shuffle=shuffle),
        )

    model = classifier_config(backbone, wrapper)
    model['head']['num_classes'] = 10
    return Config(
        dict(
            default_scope='mmdmlora',
            model=model,
            data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
            train_dataloader=loader('train800', True),
            val_dataloader=loader('val200', False),
            test_dataloader=loader('test', False),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            val_cfg=dict(),
            test_cfg=dict(),
            val_evaluator=dict(type='Accuracy'),
            test_evaluator=dict(type='Accuracy'),
            optim_wrapper=dict(
                constructor='PEFTOptimWrapperConstructor',
                optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05),
            ),
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(
                    type='CrashSafeCheckpointHook',
                    interval=1,
                    save_best='accuracy/top1',
                    rule='greater',
                ),
                epoch_seed=dict(type='EpochSeedHook'),
                plain_checkpoint=dict(type='PlainCheckpointHook'),
                **(hooks or {}),
            ),
            work_dir=str(work_dir),
            experiment_name=uuid4().hex,
            randomness=dict(seed=0),
            log_level='WARNING',
        )
        | overrides
    )


def runner(work_dir: Path, **options) -> Runner:
    """The Runner of :func:`config`."""
    return Runner.from_cfg(config(work_dir, **options))

"""Checkpoints that don't fit the config that a tool is given."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed

from mmdmlora.apis.compose import load_config
from mmdmlora.models.merging import merge_model
from mmdmlora.registry import MODELS
from tests.test_reliability.tool import (
    BACKBONE,
    DMLORA,
    LORA,
    contents,
    run_options,
    run_tool,
    train,
)

# What the checkpoint was made with -> what a file of it holds.
Maker = Callable[[], dict]


def _model(config: str = DMLORA, **options: object) -> torch.nn.Module:
    loaded = load_config(config)
    loaded.merge_from_dict(options)
    init_default_scope('mmdmlora')
    set_random_seed(7)
    return MODELS.build(loaded.model)


def _made_with(config: str = DMLORA, **options: object) -> Maker:
    return lambda: dict(state_dict=_model(config, **options).state_dict(), meta={})


def _case(tool: str, make: Maker, **settings: object) -> Callable[[Path], str]:
    """Give a tool a checkpoint; that file and what else is there must stay."""

    def case(folder: Path) -> str:
        checkpoint, out = folder / 'x.pth', folder / 'merged.pth'
        torch.save(make(), checkpoint)
        out.write_text('an older file')
        before = contents(folder)
        options = [f'{key}={value}' for key, value in settings.items()]
        if tool == 'train.py':
            message = train(folder, f'load_from={checkpoint}', *options)
        else:
            last = [out] if tool == 'merge.py' else []
            message = run_tool(
                tool, DMLORA, checkpoint, *last, *run_options(folder, *options)
            )
        after = contents(folder)
        assert {name: after[name] for name in before} == before
        assert not list(folder.glob('run/*.pth'))
        return message

    return case


def _file(tool: str, source: Path | None) -> Callable[[Path], str]:
    """Give a tool a file that is no checkpoint, or none."""

    def case(folder: Path) -> str:
        checkpoint = folder / (source.name if source else 'none.pth')
        if source:
            shutil.copy(source, checkpoint)
        out = [folder / 'merged.pth'] if tool == 'merge.py' else []
        message = run_tool(tool, DMLORA, checkpoint, *out, *run_options(folder))
        assert not (folder / 'merged.pth').exists()
        return message

    return case


def _merged() -> dict:
    return dict(state_dict=merge_model(_model()).state_dict(), meta={})


RANK = {'model.backbone.rank': 4}
BRANCHES = {'model.backbone.num_branches': 4}
CLASSES = {'model.head.num_classes': 7}
RANDOM = {'model.backbone.module.init_cfg': None}
CONTENTS: dict[str, Maker] = {
    'of LoRA': _made_with(LORA),
    'of rank 4': _made_with(**RANK),
    'of 4 branches': _made_with(**BRANCHES),
    'on other backbone weights': _made_with(**RANDOM),
    'that is merged already': _merged,
}
CASES = {
    f'`tools/{tool}` with {what} {kind}': _case(tool, make)
    for tool, what in (
        ('test.py', 'a checkpoint'),
        ('merge.py', 'a checkpoint'),
        ('train.py', '`load_from`, a checkpoint'),
    )
    for kind, make in CONTENTS.items()
} | {
    f'`tools/{tool}` with a checkpoint of 7 classes': _case(tool, _made_with(**CLASSES))
    for tool in ('test.py', 'merge.py')
}
CASES |= {
    '`tools/test.py` with a checkpoint of 7 classes, `model.head.num_classes=7`': _case(
        'test.py', _made_with(**CLASSES), **CLASSES
    ),
    '`tools/test.py` with weights of a backbone': _file('test.py', BACKBONE),
    '`tools/test.py` without the checkpoint': _file('test.py', None),
    '`tools/merge.py` without the checkpoint': _file('merge.py', None),
    '`load_from`, weights of a backbone': lambda folder: train(
        folder, f'load_from={shutil.copy(BACKBONE, folder)}'
    ),
    '`load_from=none.pth`': lambda folder: train(folder, 'load_from=none.pth'),
}

"""The methods that can be measured, by name.

A name is that of a file of ``configs/_base_/methods``, whose settings it has, or
``mmpretrain-lora`` or ``peft-lora``, which have the rank and the scale of ``lora``. A
variant changes settings behind a colon: ``dmlora:num_branches=16,draws=sample``.
"""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmdmlora.quiet_log import quiet_log
from mmdmlora.registry import MODELS

from ..compose import load_config
from .peft_lora import peft_lora

BOOLEANS = dict(true=True, false=False)


@dataclass(frozen=True)
class Method:
    """A method with its settings.

    Attributes:
        name: What the user wrote.
        build: Makes the classifier from the config of the plain one.
    """

    name: str
    build: Callable[[dict], nn.Module]


def build_classifier(config: dict) -> nn.Module:
    """A classifier without pre-trained weights, which no step's cost depends on."""
    config = copy.deepcopy(config)
    backbone = config['backbone']
    backbone.get('module', backbone)['init_cfg'] = None
    torch.manual_seed(0)
    with quiet_log():
        return MODELS.build(config)


def known_methods(folder: Path) -> list[str]:
    """The names without variants; ``folder`` is that of the methods' configs."""
    return [*sorted(file.stem for file in folder.glob('*.py')), *OTHER_LIBRARIES]


def find_method(written: str, folder: Path) -> Method:
    """Read a name and its variant.

    Args:
        written: ``NAME`` or ``NAME:setting=value,setting=value``.
        folder: The folder of the methods' configs.

    Raises:
        ValueError: If there is no such method or setting, or it can't be read.
    """
    name, _, variant = written.partition(':')
    if name not in known_methods(folder):
        raise ValueError(
            f'no method is named {name!r}. Known are: {", ".join(known_methods(folder))}.'
        )
    changes = _read_variant(written, variant)
    if name in OTHER_LIBRARIES:
        lora = load_config(folder / 'lora.py').method
        settings = dict(rank=lora.rank, scale=lora.scale)
        _check_settings(written, changes, settings)
        settings |= changes
        _check_rank_and_scale(written, **settings)
        build = OTHER_LIBRARIES[name]
        return Method(written, lambda config: build(config, **settings))
    settings = load_config(folder / f'{name}.py').method.to_dict()
    arguments = inspect.signature(MODELS.get(settings['type'])).parameters
    _check_settings(written, changes, [key for key in arguments if key != 'module'])
    settings |= changes
    return Method(written, lambda config: _wrapped(config, settings))


def _read_variant(written: str, variant: str) -> dict[str, Any]:
    """The settings behind the colon: Python's literals, or words without quotes."""
    try:
        call = ast.parse(f'settings({variant})', mode='eval').body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError
        changes = {str(word.arg): _value(word.value) for word in call.keywords}
        if len(changes) < len(call.keywords) or 'None' in changes:
            raise ValueError
    except (ValueError, SyntaxError) as error:
        raise ValueError(
            f'the variant in {written!r} can not be read: expected '
            'NAME:setting=value,setting=value.'
        ) from error
    return changes


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return BOOLEANS.get(node.id, node.id)
    return ast.literal_eval(node)


def _check_settings(written: str, changes: dict, known: Any) -> None:
    if unknown := [key for key in changes if key not in known]:
        settings = ', '.join(known) or 'none'
        raise ValueError(
            f'{written!r} has no setting {unknown[0]!r}. Its settings are: {settings}.'
        )


def _check_rank_and_scale(written: str, rank: Any, scale: Any) -> None:
    if type(rank) is not int or rank < 1:
        raise ValueError(f'{written!r}: rank must be a whole number above 0.')
    if type(scale) not in (int, float) or not 0 < scale < float('inf'):
        raise ValueError(f'{written!r}: scale must be a number above 0.')


def _wrapped(config: dict, wrapper: dict) -> nn.Module:
    return build_classifier(
        dict(config, backbone=dict(wrapper, module=dict(config['backbone'])))
    )


def _mmpretrain_lora(config: dict, rank: int, scale: float) -> nn.Module:
    """mmpretrain's LoRAModel, which knows no parts: it adapts the whole qkv."""
    wrapper = dict(
        type='mmpretrain.LoRAModel',
        rank=rank,
        alpha=scale * rank,
        targets=[dict(type=r'.*\.(qkv|pointwise_conv1)')],
    )
    return _wrapped(config, wrapper)


def _peft_lora(config: dict, rank: int, scale: float) -> nn.Module:
    backbone = build_classifier(config).get_submodule('backbone')
    return peft_lora(backbone, config['head']['num_classes'], rank, scale)


OTHER_LIBRARIES: dict[str, Callable[..., nn.Module]] = {
    'mmpretrain-lora': _mmpretrain_lora,
    'peft-lora': _peft_lora,
}

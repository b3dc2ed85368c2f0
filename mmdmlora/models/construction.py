"""Where a wrapper's backbone comes from, and whose weights are initialised."""

from __future__ import annotations

import copy

from mmengine.model import BaseModule, PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from mmdmlora.quiet_log import quiet_log
from mmdmlora.registry import MODELS

from .pretrained import load_init_cfg

OWN = f'{__package__}.'


def build_backbone(module: dict | nn.Module) -> nn.Module:
    """Build a backbone from its config, or take one that is there.

    Weights that are there stay. Only an mmengine ``BaseModule`` that a config has just
    built is initialised, as its ``init_cfg`` and that of its parts ask. What timm,
    torchvision, transformers or another library has built keeps the weights of its
    constructor, also inside a ``BaseModule`` (``TIMMBackbone``, ``TimmClassifier``): some
    of them start anew in a method that is called ``init_weights`` as well.

    Args:
        module: A config: its ``type`` is a registered class, or the dotted path of a
            class or factory, ``timm.create_model``. Or a module, which is taken as it
            is: neither copied nor initialised.

    Raises:
        ValueError: If it is neither, if the module already holds layers of a wrapper, or
            if the config's checkpoint is missing or doesn't fit.
    """
    if isinstance(module, nn.Module):
        _check_plain(module)
        return module
    if not isinstance(module, dict):
        raise ValueError(
            f'module must be a config dict or a torch.nn.Module, got {module!r}: pass '
            "the model itself, such as timm.create_model('vit_base_patch16_224')."
        )
    config = copy.deepcopy(module)
    pretrained = _take_pretrained(config)
    backbone = MODELS.build(config)
    if not any(p.is_meta for p in backbone.parameters()):
        _initialize(backbone)
        if pretrained is not None:
            load_init_cfg(backbone, pretrained)
    return backbone


def _take_pretrained(config: dict) -> dict | None:
    """Take what loads weights out of a config's ``init_cfg``, alone or in a list."""
    init_cfg = config.get('init_cfg')
    entries = init_cfg if isinstance(init_cfg, list | tuple) else [init_cfg]
    found: list[dict] = [entry for entry in entries if _is_pretrained(entry)]
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(
            f'init_cfg names {len(found)} files of weights: leave one of '
            f'{[entry["checkpoint"] for entry in found]}.'
        )
    rest = [entry for entry in entries if entry is not found[0]]
    # A factory of another library doesn't know the key.
    del config['init_cfg']
    if rest:
        config['init_cfg'] = rest
    return found[0]


def _is_pretrained(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    kind = entry.get('type')
    return (WEIGHT_INITIALIZERS.get(kind) if isinstance(kind, str) else kind) is (
        PretrainedInit
    )


def _initialize(backbone: nn.Module) -> None:
    if not isinstance(backbone, BaseModule):
        return
    for part in backbone.modules():
        if not isinstance(part, BaseModule) and hasattr(part, 'init_weights'):
            part.is_init = True  # mmengine leaves it alone, now and later
    with quiet_log():
        backbone.init_weights()


def _check_plain(module: nn.Module) -> None:
    for part in module.modules():
        if type(part).__module__.startswith(OWN):
            raise ValueError(
                f'this {type(module).__name__} is wrapped already, with a '
                f"{type(part).__name__}: take the wrapper's merge(), or build the model "
                'anew.'
            )

"""Backbones that run layers outside of the graph and repeat them in backward."""

from __future__ import annotations

from typing import Any

from mmpretrain.models.backbones import RevVisionTransformer
from torch import Tensor, nn

# What switches activation checkpointing on in OpenMMLab, timm and transformers.
FLAGS = ('with_cp', 'use_checkpoint', 'grad_checkpointing', 'gradient_checkpointing')


def repeats_layers(backbone: nn.Module) -> bool:
    """Whether it has activation checkpointing or reversible layers switched on.

    A forward of a module's own counts: mmengine's ``activation_checkpointing`` gives
    modules one.
    """
    return any(
        any(vars(module).get(flag) for flag in FLAGS)
        or 'forward' in vars(module)
        or (isinstance(module, RevVisionTransformer) and not module.no_custom_backward)
        for module in backbone.modules()
    )


def connected(value: Any) -> Any:
    """A floating-point input as a tensor that asks for a gradient; else the value.

    Layers that run outside of the graph (``use_reentrant=True``, reversible layers)
    get gradients only if their input asks for one. Behind frozen layers it doesn't, and
    what is trained in them would not learn.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value if value.requires_grad else value.detach().requires_grad_()

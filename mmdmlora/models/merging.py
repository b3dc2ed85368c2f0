"""Merging every wrapper of a larger model."""

from __future__ import annotations

import copy

from torch import nn

from .peft_model import PEFTModel


def merge_model(model: nn.Module) -> nn.Module:
    """A copy of a model in which each wrapper is replaced by its merged backbone.

    Args:
        model: Any model, for example a classifier with a wrapped backbone.

    Returns:
        nn.Module: Plain modules only, in evaluation mode. The model isn't changed.

    Raises:
        ValueError: If a method can't be merged.
    """
    if isinstance(model, PEFTModel):
        merged = model.merge()
    else:
        merged = copy.deepcopy(model)
        for name, module in list(merged.named_modules()):
            if isinstance(module, PEFTModel):
                merged.set_submodule(name, module.merge(), strict=True)
    merged.eval()
    return merged

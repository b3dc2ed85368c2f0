"""Merging every wrapper of a larger model."""

from __future__ import annotations

import copy

from mmpretrain.models import ImageClassifier
from torch import nn

from .consistency_classifier import ConsistencyClassifier
from .peft_model import find_wrappers


def merge_model(model: nn.Module) -> nn.Module:
    """A copy of a model in which each wrapper is replaced by its merged backbone.

    Args:
        model: Any model, for example a classifier with a wrapped backbone.

    Returns:
        nn.Module: Plain modules only, each in the mode that it was in; a
        :class:`~mmdmlora.models.ConsistencyClassifier` becomes mmpretrain's
        ``ImageClassifier``. The model isn't changed.

    Raises:
        ValueError: If a method can't be merged.
    """
    # What deepcopy finds in its memo it takes as the copy.
    merged = copy.deepcopy(model, {id(w): w.merge() for w in find_wrappers(model)})
    for module in merged.modules():
        if isinstance(module, ConsistencyClassifier):
            del module.consistency
            module.__class__ = ImageClassifier
    return merged

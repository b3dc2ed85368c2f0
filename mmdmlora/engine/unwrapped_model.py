"""The model inside of what a distributed run makes of it."""

from __future__ import annotations

from typing import cast

from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, without ``DistributedDataParallel`` or the like around it."""
    return cast(nn.Module, model.module) if is_model_wrapper(model) else model

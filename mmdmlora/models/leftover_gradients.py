"""Gradients of zeros that clearing has left to parameters that are no longer used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def drop_zero_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Set gradients to None that hold nothing but zeros.

    Args:
        parameters: Those to look at. Reading their gradients waits for the device.
    """
    left = [parameter for parameter in parameters if parameter.grad is not None]
    if left:
        with torch.no_grad():
            sizes = torch._foreach_norm([p.grad for p in left], float('inf'))
        for parameter, size in zip(left, torch.stack(sizes).tolist(), strict=True):
            if size == 0:
                parameter.grad = None


def find_differentiable(output: Any) -> Tensor | None:
    """The first tensor with a gradient function inside nested outputs of a model."""
    if isinstance(output, Tensor):
        return output if output.requires_grad else None
    if isinstance(output, Mapping):
        items: Iterable[Any] = output.values()
    elif isinstance(output, (list, tuple)):
        items = output
    else:
        items = vars(output).values() if hasattr(output, '__dict__') else ()
    return next(
        (t for item in items if (t := find_differentiable(item)) is not None), None
    )

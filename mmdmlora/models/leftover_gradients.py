"""Gradients of zeros that clearing has left to parameters that are no longer used."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


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

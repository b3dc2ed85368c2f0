"""Recognising the frozen backbone that an adapter was trained on."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

SAMPLES = 16
TOLERANCE = 0.01


@torch.no_grad()
def fingerprint(tensors: Iterable[Tensor]) -> Tensor:
    """Sixteen evenly spaced values of each tensor.

    Values rather than a hash: a backbone in half precision is still recognised, and a
    mismatch can be attributed to a tensor.

    Args:
        tensors: T tensors, in a fixed order.

    Returns:
        Tensor: Float32, ``(T, 16)``; tensors with fewer values repeat some.
    """
    rows = []
    for tensor in tensors:
        flat = tensor.detach().reshape(-1)
        steps = torch.linspace(0, flat.numel() - 1, SAMPLES, dtype=torch.float64)
        rows.append(flat[steps.round().long().to(flat.device)].float())
    return torch.stack(rows) if rows else torch.zeros(0, SAMPLES)


def first_difference(one: Tensor, other: Tensor) -> int | None:
    """The first row in which two fingerprints differ by more than rounding does.

    Returns:
        int or None: The row's index; None if all rows agree within one per cent of the
        row's largest value.
    """
    other = other.to(one)
    bound = TOLERANCE * one.abs().amax(dim=1) + 1e-6
    different = (one - other).abs().amax(dim=1) > bound
    return int(different.nonzero()[0]) if different.any() else None

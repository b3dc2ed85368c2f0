"""What the options of a method may be."""

from __future__ import annotations

from numbers import Real
from typing import Any

import torch

SMALLEST = torch.finfo(torch.float32).tiny
LARGEST = torch.finfo(torch.float32).max


def is_count(value: Any) -> bool:
    """Whether it is a whole number above 0; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_rate(value: Any) -> bool:
    """Whether it is a number in [0, 1)."""
    return isinstance(value, Real) and 0 <= float(value) < 1


def is_scale(value: Any) -> bool:
    """Whether it is a positive number that single precision can hold."""
    return isinstance(value, Real) and SMALLEST <= float(value) <= LARGEST

"""Metrics in a form that JSON has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Plain = Any  # None, bool, int, float, str, or lists and dicts of these


def plain_value(value: object) -> Plain:
    """What JSON has for a metric, whatever it is.

    Args:
        value (object): A number or array of Python, NumPy or PyTorch, on any device,
            nested in mappings and sequences; or anything else.

    Returns:
        None | bool | int | float | str | list | dict: Arrays become nested lists, NaN
        and infinity, which JSON lacks, the texts ``nan``, ``inf`` and ``-inf``, keys
        texts, and other objects their text.
    """
    if isinstance(value, Tensor):
        is_dense = value.layout is torch.strided
        dense = value.detach() if is_dense else value.detach().to_dense()
        return plain_value(dense.cpu().tolist())
    if isinstance(value, np.ndarray | np.generic):
        plain = value.tolist()
        # Of types that Python lacks, such as longdouble, NumPy gives itself.
        return str(plain) if isinstance(plain, np.generic) else plain_value(plain)
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [plain_value(item) for item in value]
    return str(value)

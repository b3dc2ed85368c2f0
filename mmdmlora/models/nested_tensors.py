"""Tensors inside what a model takes and gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor


def find_tensors(value: Any) -> Iterator[Tensor]:
    """The tensors inside nested containers and objects, in their order.

    Args:
        value: A tensor, or mappings, lists, tuples and objects that hold some, such as
            the output of a model of transformers. Each is entered once.
    """
    return _find(value, set())


def _find(value: Any, entered: set[int]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
        return
    if isinstance(value, Mapping):
        items = list(value.values())
    elif isinstance(value, (list, tuple)):
        items = list(value)
    else:
        items = list(vars(value).values()) if hasattr(value, '__dict__') else []
    if items and id(value) not in entered:
        entered.add(id(value))
        for item in items:
            yield from _find(item, entered)

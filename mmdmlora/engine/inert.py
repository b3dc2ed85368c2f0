"""Stand-ins for the objects that a stock OpenMMLab checkpoint pickles.

A file that names one of :data:`INERT_GLOBALS` gets the stand-in, which keeps what it is
given and calls nothing. :func:`revive` turns the stand-ins into plain data afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer
from torch.serialization import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
)


class InertObject:
    """Stands in for a class or function that a pickle names.

    It keeps what it is given. What has no plain form becomes None.
    """

    def __new__(cls, *args):
        self = super().__new__(cls)
        self.args, self.state = args, None
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    @cached_property
    def plain(self) -> Any:
        """The plain form, built once however often the file refers to it."""
        return None


class InertDtype(InertObject):
    """Stands in for ``numpy.dtype``; accepts numbers and text, never objects."""

    def to_array(self, data: bytes) -> np.ndarray | None:
        code, order = self.args[0], self.state[1] if self.state else '|'
        if not re.fullmatch(r'[biufcSU]\d+', code) or order not in '<>=|':
            return None
        return np.frombuffer(data, dtype=np.dtype(order + code))


class InertScalar(InertObject):
    """Stands in for a NumPy scalar; becomes a Python value."""

    @cached_property
    def plain(self) -> Any:
        dtype, data = self.args
        array = dtype.to_array(data)
        return None if array is None else array[0].item()


class InertArray(InertObject):
    """Stands in for a NumPy array; rebuilt from its raw bytes."""

    @cached_property
    def plain(self) -> np.ndarray | None:
        _, shape, dtype, is_fortran, data = self.state
        array = dtype.to_array(data) if isinstance(data, bytes) else None
        if array is None:
            return None
        return array.reshape(shape, order='F' if is_fortran else 'C').copy()


class InertHistoryBuffer(InertObject):
    """Stands in for mmengine's HistoryBuffer, whose own state may carry functions."""

    @cached_property
    def plain(self) -> HistoryBuffer | None:
        """A new buffer from the two arrays; every other entry is ignored."""
        state = revive(self.state)
        log, count = state.get('_log_history'), state.get('_count_history')
        for history in (log, count):
            if not isinstance(history, np.ndarray) or history.dtype.kind not in 'biuf':
                return None
        return HistoryBuffer(log, count, int(state['max_length']))


def _inert_dict(*args) -> dict:
    return dict(args[0]) if args and isinstance(args[0], dict) else {}


def _inert_list(*args) -> list:
    return list(args[0]) if args and isinstance(args[0], (list, tuple)) else []


def _inert_bytes(*args) -> bytes:
    return b''


INERT_GLOBALS = {
    'mmengine.logging.history_buffer.HistoryBuffer': InertHistoryBuffer,
    'mmengine.config.config.ConfigDict': _inert_dict,
    'builtins.getattr': InertObject,
    'builtins.bytes': _inert_bytes,
    'collections.deque': _inert_list,
    'numpy.dtype': InertDtype,
    'numpy.ndarray': InertArray,
    'numpy.core.multiarray._reconstruct': InertArray,
    'numpy._core.multiarray._reconstruct': InertArray,
    'numpy.core.multiarray.scalar': InertScalar,
    'numpy._core.multiarray.scalar': InertScalar,
}


def name_of(entry: Any) -> str:
    """The name under which an entry of torch's list of safe globals is found."""
    if isinstance(entry, tuple):
        return entry[1]
    return f'{entry.__module__}.{entry.__qualname__}'


@contextmanager
def inert_globals() -> Iterator[None]:
    """Allow the names above as stand-ins, even where a library allowed the real thing."""
    before = get_safe_globals()
    clear_safe_globals()
    add_safe_globals([item for item in before if name_of(item) not in INERT_GLOBALS])
    add_safe_globals([(stub, name) for name, stub in INERT_GLOBALS.items()])
    try:
        yield
    finally:
        clear_safe_globals()
        add_safe_globals(before)


def revive(value: Any) -> Any:
    """Replace the stand-ins inside nested containers by plain data, in place."""
    return replace_nested(
        value, lambda item: item.plain if isinstance(item, InertObject) else item
    )


def replace_nested(
    value: Any, replace: Callable[[Any], Any], seen: dict[int, tuple] | None = None
) -> Any:
    """Replace values inside nested dicts, lists and tuples, in place where possible.

    Args:
        value: The value.
        replace: Gives another value for one that is to be replaced, and the same one
            for all others.
        seen: What was replaced already, by identity. A value that many places refer to
            is visited once and stays shared.

    Returns:
        Any: The value, or what replaces it.
    """
    seen = {} if seen is None else seen
    if id(value) in seen:
        return seen[id(value)][1]
    new = replace(value)
    if new is value and not isinstance(value, (dict, list, tuple)):
        return value
    seen[id(value)] = value, new
    if new is not value:
        return new
    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = replace_nested(item, replace, seen)
    elif isinstance(value, list):
        value[:] = [replace_nested(item, replace, seen) for item in value]
    elif type(value) is tuple:
        new = tuple(replace_nested(item, replace, seen) for item in value)
        seen[id(value)] = value, new
    return new

"""The objects that a stock OpenMMLab checkpoint pickles, rebuilt without their classes.

``torch.load(weights_only=True)`` calls only functions on its list of safe names. While a
file is read, :func:`stand_ins_allowed` puts the names of :data:`STAND_INS` on that list,
each leading to a stand-in: a class or function that keeps its arguments and calls
nothing. :func:`rebuild` turns the stand-ins into plain data afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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

from .nested import replace_nested


class StandIn:
    """Stands in for any class or function; its plain form is None."""

    args: tuple
    state: Any

    def __new__(cls, *args: Any) -> StandIn:
        self = super().__new__(cls)
        self.args, self.state = args, None
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    @cached_property
    def plain(self) -> Any:
        """The plain form, built once however often the file refers to it."""
        return None


class DtypeStandIn(StandIn):
    """Stands in for ``numpy.dtype``; accepts numbers and text, never objects."""

    def to_array(self, data: bytes) -> np.ndarray | None:
        """The bytes as a flat array, or None if the type isn't one of the accepted."""
        code, order = self.args[0], self.state[1] if self.state else '|'
        if not re.fullmatch(r'[biufcSU]\d+', code) or order not in '<>=|':
            return None
        return np.frombuffer(data, dtype=np.dtype(order + code))


class ScalarStandIn(StandIn):
    """Stands in for a NumPy scalar; becomes a Python value."""

    @cached_property
    def plain(self) -> Any:
        dtype, data = self.args
        array = dtype.to_array(data)
        return None if array is None else array[0].item()


class ArrayStandIn(StandIn):
    """Stands in for a NumPy array; rebuilt from its raw bytes."""

    @cached_property
    def plain(self) -> np.ndarray | None:
        _, shape, dtype, is_fortran, data = self.state
        array = dtype.to_array(data) if isinstance(data, bytes) else None
        if array is None:
            return None
        return array.reshape(shape, order='F' if is_fortran else 'C').copy()


class HistoryBufferStandIn(StandIn):
    """Stands in for mmengine's HistoryBuffer, whose own state may carry functions."""

    @cached_property
    def plain(self) -> HistoryBuffer | None:
        """A new buffer from the two arrays; every other entry is ignored."""
        state = rebuild(self.state)
        log, count = state.get('_log_history'), state.get('_count_history')
        for history in (log, count):
            if not isinstance(history, np.ndarray) or history.dtype.kind not in 'biuf':
                return None
        return HistoryBuffer(log, count, int(state['max_length']))


def _dict(*args) -> dict:
    return dict(args[0]) if args and isinstance(args[0], dict) else {}


def _list(*args) -> list:
    return list(args[0]) if args and isinstance(args[0], (list, tuple)) else []


def _empty_bytes(*args) -> bytes:
    return b''


# Name in the pickle -> what torch.load calls instead.
STAND_INS = {
    'mmengine.logging.history_buffer.HistoryBuffer': HistoryBufferStandIn,
    'mmengine.config.config.ConfigDict': _dict,
    'builtins.getattr': StandIn,
    'argparse.Namespace': StandIn,
    'builtins.bytes': _empty_bytes,
    'collections.deque': _list,
    'numpy.dtype': DtypeStandIn,
    'numpy.ndarray': ArrayStandIn,
    'numpy.core.multiarray._reconstruct': ArrayStandIn,
    'numpy._core.multiarray._reconstruct': ArrayStandIn,
    'numpy.core.multiarray.scalar': ScalarStandIn,
    'numpy._core.multiarray.scalar': ScalarStandIn,
}


def _name_of(entry: Any) -> str:
    """The name under which an entry of torch's list of safe names is found."""
    if isinstance(entry, tuple):
        return entry[1]
    return f'{entry.__module__}.{entry.__qualname__}'


@contextmanager
def stand_ins_allowed() -> Iterator[None]:
    """Put the stand-ins on torch's list, also in place of a real class on it."""
    before = get_safe_globals()
    clear_safe_globals()
    add_safe_globals([item for item in before if _name_of(item) not in STAND_INS])
    add_safe_globals([(stand_in, name) for name, stand_in in STAND_INS.items()])
    try:
        yield
    finally:
        clear_safe_globals()
        add_safe_globals(before)


def rebuild(value: Any) -> Any:
    """Replace the stand-ins inside nested containers by plain data, in place."""
    return replace_nested(
        value, lambda item: item.plain if isinstance(item, StandIn) else item
    )

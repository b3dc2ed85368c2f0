"""Checkpoints as plain data, which loads without any allow-list, and back."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log

from .nested import replace_nested

TAG = 'mmdmlora_type'
PLAIN_TYPES = (str, bytes, bool, int, float, complex, type(None))
TORCH_TYPES = (torch.Tensor, torch.Size, torch.dtype, torch.device)
_LEFT_OUT = object()


def _scalar_to_plain(value: np.generic, where: str) -> Any:
    item = value.item()
    if isinstance(item, np.longdouble):
        return float(item)
    return to_plain(item, where)


def _array_to_plain(value: np.ndarray, where: str) -> dict | list:
    try:
        data = torch.from_numpy(np.array(value, order='C'))
    except TypeError:
        return to_plain(value.tolist(), where)
    return {TAG: 'ndarray', 'data': data}


def _buffer_to_plain(value: HistoryBuffer, where: str) -> dict:
    log, count = value.data
    return {
        TAG: 'HistoryBuffer',
        'log': _array_to_plain(log, where),
        'count': _array_to_plain(count, where),
        'max_length': int(value.max_length),
    }


def _items_to_plain(items: Iterable, where: str) -> list:
    plain = [to_plain(item, f'{where}[{i}]') for i, item in enumerate(items)]
    return [None if item is _LEFT_OUT else item for item in plain]


def to_plain(value: Any, where: str = 'checkpoint') -> Any:
    """Copy nested containers with every value turned into one that loads safely.

    Mappings become dicts, deques lists, frozen sets sets; lists, tuples and sets stay.
    History buffers and numeric arrays become tagged dicts of tensors, arrays of text
    lists, NumPy scalars Python values, paths strings.

    Args:
        value (Any): The value. It isn't modified; tensors are shared with the result.
        where (str): What a warning calls the value. Defaults to ``'checkpoint'``.

    Returns:
        Any: The plain value. What has no plain form is left out of a mapping and None
        in a sequence, each with a warning.
    """
    if type(value) in PLAIN_TYPES or isinstance(value, TORCH_TYPES):
        return value
    if isinstance(value, Mapping):
        plain = {key: to_plain(item, f'{where}.{key}') for key, item in value.items()}
        return {
            to_plain(key, where): item
            for key, item in plain.items()
            if item is not _LEFT_OUT
        }
    if isinstance(value, (list, deque)):
        return _items_to_plain(value, where)
    if isinstance(value, tuple):
        return tuple(_items_to_plain(value, where))
    if isinstance(value, (set, frozenset)):
        return set(_items_to_plain(value, where))
    if isinstance(value, np.generic):
        return _scalar_to_plain(value, where)
    if isinstance(value, np.ndarray):
        return _array_to_plain(value, where)
    if isinstance(value, HistoryBuffer):
        return _buffer_to_plain(value, where)
    if isinstance(value, PathLike):
        return fspath(value)
    for base in (int, float, str):
        if isinstance(value, base):
            return base(value)
    print_log(
        f'{where} is a {type(value).__name__}, which a checkpoint can not hold safely: '
        'it is not saved.',
        logger='current',
        level=logging.WARNING,
    )
    return _LEFT_OUT


def from_plain(value: Any) -> Any:
    """Restore what :func:`to_plain` tagged, in place inside dicts and lists.

    Raises:
        ValueError: If a tagged dict isn't one that :func:`to_plain` writes.
    """
    return replace_nested(
        value,
        lambda item: _restore(item) if isinstance(item, dict) and TAG in item else item,
    )


def _restore(tagged: dict) -> np.ndarray | HistoryBuffer:
    try:
        if tagged[TAG] == 'ndarray':
            return np.array(tagged['data'].cpu().numpy())
        if tagged[TAG] == 'HistoryBuffer':
            log, count = from_plain(tagged['log']), from_plain(tagged['count'])
            return HistoryBuffer(log, count, int(tagged['max_length']))
    except (
        AssertionError,
        AttributeError,
        LookupError,
        TypeError,
        RuntimeError,
    ) as error:
        raise ValueError(
            f'The checkpoint holds a damaged {tagged[TAG]} ({error!r}). Resume from '
            'another checkpoint.'
        ) from error
    raise ValueError(
        f'The checkpoint holds an unknown {TAG} {tagged[TAG]!r}. Update mmdmlora.'
    )

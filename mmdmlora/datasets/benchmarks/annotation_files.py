"""Reading JSON and MATLAB files with annotations, which may come from anywhere."""

from __future__ import annotations

import json
import math
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mmdmlora._requirements import extra

# The largest real one, CoOp's split of Food-101, has 9 MB.
MAX_MEBIBYTES = 32
MAX_BYTES = MAX_MEBIBYTES * 2**20
MAX_NESTED = 1000
MAX_ELEMENTS = 10**7

_COMPRESSED = 15
_TEXT = b'\x04'
# How a cell, struct, object, function or text starts: a tag, flags with the class, and
# the tag of its dimensions.
_STARTS = {
    '<': rb'(?=\x0e\0{3}.{12}([\1-\4\x10\x11]).{7}([\5\6].{3}))',
    '>': rb'(?=\0{3}\x0e.{15}([\1-\4\x10\x11]).{4}(.{3}[\5\6]))',
}


def read_json(file: str) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: If it isn't JSON, or larger than any list of annotations.
    """
    _check_size(file, os.path.getsize(file))
    with open(file, encoding='utf-8-sig') as stream:
        try:
            return json.load(stream)
        except RecursionError:
            reason = 'it is nested too deeply'
        except ValueError as error:
            reason = error
    raise ValueError(f'{file} is not JSON ({reason}). Fetch it again.')


def read_mat(file: str, key: str) -> np.ndarray:
    """Read a variable of a MATLAB file as a one-dimensional array.

    Raises:
        ValueError: If the file isn't one, lacks the variable or unpacks to more than any
            file of annotations.
    """
    _check_mat(file)
    with extra('fgvc'):
        from scipy.io import loadmat
    try:
        content = loadmat(file, squeeze_me=True, variable_names=[key])
    except Exception as error:  # SciPy raises many kinds for a broken file.
        raise ValueError(
            f'{file} is no readable MATLAB file ({error}). Fetch it again.'
        ) from error
    if key not in content:
        raise ValueError(f'{file} has no variable {key!r}. Fetch the file again.')
    return np.atleast_1d(content[key])


def _check_size(file: str, size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(
            f'{file} unpacks to more than {MAX_MEBIBYTES} MiB, which no list of images '
            'does. Fetch it again.'
        )


def _check_mat(file: str) -> None:
    """Refuse what SciPy would fill the memory or overrun the stack with."""
    _check_size(file, os.path.getsize(file))
    content = Path(file).read_bytes()
    order = '<' if content[126:128] == b'IM' else '>'
    unpacked = _inflate(file, content, order)
    nested = elements = 0
    for start in re.finditer(_STARTS[order], unpacked, re.DOTALL):
        nested += start[1] != _TEXT
        elements += _num_elements(unpacked, start.start(2), order)
        if nested > MAX_NESTED or elements > MAX_ELEMENTS:
            raise ValueError(
                f'{file} has more than {MAX_NESTED:,} nested cells or structs, or more '
                f'than {MAX_ELEMENTS:,} elements in them, which no list of images has. '
                'Fetch it again.'
            )


def _inflate(file: str, content: bytes, order: str) -> bytes:
    """The variables of a file of version 5, without compression."""
    place, parts, size = 128, [], 0
    while place + 8 <= len(content):
        kind, length = struct.unpack_from(f'{order}2I', content, place)
        part = content[place : place + 8 + length]
        place += 8 + length
        if kind == _COMPRESSED:
            try:
                room = MAX_BYTES - size + 1
                part = zlib.decompressobj().decompress(part[8:], room)
            except zlib.error as error:
                raise ValueError(
                    f'{file} is no readable MATLAB file ({error}). Fetch it again.'
                ) from error
        parts.append(part)
        size += len(part)
        _check_size(file, size)
    return b''.join(parts)


def _num_elements(content: bytes, place: int, order: str) -> int:
    """The number of elements that the dimensions at a place state."""
    tag, length = struct.unpack(f'{order}2I', content[place : place + 8].ljust(8, b'\0'))
    first = place + 8
    if tag >> 16:  # a small element, with its data in the tag
        length, first = tag >> 16, place + 4
    count = min(length, 128, len(content) - first) // 4
    return math.prod(struct.unpack_from(f'{order}{max(0, count)}I', content, first))

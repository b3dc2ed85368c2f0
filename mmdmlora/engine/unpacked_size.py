"""What a file unpacks to, found out before it is unpacked."""

from __future__ import annotations

import math
import struct
import zipfile
from typing import BinaryIO

import numpy as np

ALWAYS_ALLOWED = 2**30
TIMES_FILE_SIZE = 10
MAX_SAFETENSORS_HEADER = 16 * 2**20
_ZIP_END = '<4s4H2LH'
_ZIP64_POINTER = '<4sLQL'
_ZIP64_END = '<4sQ2H2L4Q'


class RefusedFile(ValueError):
    """A file that is not loaded.

    Args:
        reason: What is wrong with it, to be read after "refused, because".
        remedy: What to do where the file comes from.
    """

    def __init__(self, reason: str, remedy: str):
        super().__init__(f'{reason}. Where the file comes from, {remedy}')


def human(num_bytes: int) -> str:
    """A size with three digits, such as ``1.25 GiB``."""
    power = max(0, min(8, (num_bytes.bit_length() - 1) // 10))
    unit = ('bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB', 'ZiB', 'YiB')[power]
    return f'{num_bytes / 1024**power:.3g} {unit}'


def check_budget(num_bytes: int, file_size: int, what: str, remedy: str) -> None:
    """Refuse what takes more than 1 GiB and more than 10 times the size of its file.

    ``torch.save`` doesn't compress, and trained weights hardly can be. Only arrays of
    mostly zeros shrink further, and for these there is the gibibyte, which any machine
    that trains has to spare.

    Args:
        num_bytes: The size in memory.
        file_size: The size of the file.
        what: The start of a sentence that ends in the size.
        remedy: See :class:`RefusedFile`.

    Raises:
        RefusedFile: If it is too much.
    """
    if num_bytes > max(ALWAYS_ALLOWED, TIMES_FILE_SIZE * file_size):
        raise RefusedFile(
            f'{what} {human(num_bytes)}, which is more than {human(ALWAYS_ALLOWED)} and '
            f'more than {TIMES_FILE_SIZE} times the {human(file_size)} of the file',
            remedy,
        )


def size_of(stream: BinaryIO) -> int:
    """The size of an open file, which is wound back to its start."""
    size = stream.seek(0, 2)
    stream.seek(0)
    return size


def open_zip(stream: BinaryIO) -> zipfile.ZipFile:
    """Open an archive whose records together keep to the budget.

    The sizes are those that the archive states: no reader unpacks beyond them.

    Raises:
        RefusedFile: If they are too large.
        zipfile.BadZipFile: If it is no archive, or its records overlap in name or its
            table isn't at the one place where every reader looks for it.
    """
    size = size_of(stream)
    archive = zipfile.ZipFile(stream)
    names = {info.filename.casefold() for info in archive.infolist()}
    if len(names) < len(archive.infolist()):
        raise zipfile.BadZipFile('two records have the same name')
    if archive.start_dir != _stated_start(stream, size):
        raise zipfile.BadZipFile('the table of its records is not where it says')
    check_budget(
        sum(info.file_size for info in archive.infolist()),
        size,
        'it unpacks to',
        'save it without compression (torch.save, safetensors or np.savez)',
    )
    return archive


def _stated_start(stream: BinaryIO, size: int) -> int:
    """Where the archive's end says that the table of records starts.

    :mod:`zipfile` corrects a wrong place and other readers don't, so that the two could
    be shown different tables.
    """

    def read(layout: str, back: int) -> tuple:
        stream.seek(max(0, size - back))
        return struct.unpack(layout, stream.read(struct.calcsize(layout)))

    end, pointer = struct.calcsize(_ZIP_END), struct.calcsize(_ZIP64_POINTER)
    start = read(_ZIP_END, end)[6]
    if size >= end + pointer + struct.calcsize(_ZIP64_END):
        mark, _, place, _ = read(_ZIP64_POINTER, end + pointer)
        if mark == b'PK\x06\x07':
            back = end + pointer + struct.calcsize(_ZIP64_END)
            start = read(_ZIP64_END, back)[9] if place == size - back else -1
    stream.seek(0)
    return start


def check_npz(stream: BinaryIO) -> None:
    """Check a file of NumPy arrays before they are read.

    Raises:
        RefusedFile: If an array doesn't hold numbers alone, or says that it is larger
            than its record, or all together are too large.
    """
    with open_zip(stream) as archive:
        for info in archive.infolist():
            with archive.open(info) as record:
                shape, dtype = _read_array_header(record)
            if dtype.hasobject:
                raise RefusedFile(
                    f'the array {info.filename!r} holds Python objects, which may run '
                    'code',
                    'save arrays of numbers',
                )
            if dtype.kind not in 'biufc':
                raise RefusedFile(
                    f'the array {info.filename!r} holds {dtype}, which is no type of '
                    'numbers',
                    'save arrays of numbers',
                )
            check_claim(
                repr(info.filename), math.prod(shape) * dtype.itemsize, info.file_size
            )
    stream.seek(0)


def _read_array_header(record: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        shape, _, dtype = readers[np.lib.format.read_magic(record)](record)
    except (KeyError, ValueError):
        raise ValueError('an array without a header that can be read') from None
    return shape, dtype


def check_claim(what: str, claimed: int, actual: int) -> None:
    """Refuse an array or storage that says it is larger than what holds it."""
    if claimed > actual:
        raise RefusedFile(
            f'{what} claims to hold {human(claimed)}, but the file has '
            f'{human(actual)} for it',
            'save it again',
        )


def check_safetensors(stream: BinaryIO) -> None:
    """Check the size of a ``.safetensors`` file's header, which is parsed in one go.

    Raises:
        RefusedFile: If it is larger than the file, or 16 MiB: a hundred thousand tensors.
    """
    size = size_of(stream)
    start = stream.read(8)
    header = int.from_bytes(start, 'little')
    stream.seek(0)
    if len(start) == 8:
        check_claim('the header', header, size - 8)
    if header > MAX_SAFETENSORS_HEADER:
        raise RefusedFile(
            f'its header has {human(header)}, more than {human(MAX_SAFETENSORS_HEADER)}',
            'save fewer tensors in one file',
        )

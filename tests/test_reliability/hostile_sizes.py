"""Archives that unpack to far more than they look."""

from __future__ import annotations

import copy
import struct
import zipfile
from pathlib import Path

import torch

from tests.test_reliability.hostile_tool import Case, read_pickle, refused

MIB = 2**20


def _pad(file: Path, size: int) -> None:
    """Give an archive an exact size, so that the message doesn't depend on zlib."""
    with zipfile.ZipFile(file, 'a') as archive:
        missing = size - file.stat().st_size - 30 - 46 - 2 * len('x/pad')
        archive.writestr('x/pad', bytes(missing))
    assert file.stat().st_size == size


def _deflated(file: Path, name: str, start: bytes = b'') -> None:
    """An archive with a record of more than a gibibyte of zeros."""
    with (
        zipfile.ZipFile(file, 'a', zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(name, 'w') as record,
    ):
        record.write(start)
        for _ in range(1100):
            record.write(bytes(MIB))
    _pad(file, 8 * MIB)


def _deflated_checkpoint(file: Path) -> None:
    torch.save({'weight': torch.zeros(1)}, file)
    content = read_pickle(file)
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('x/data.pkl', content)
    _deflated(file, 'x/data/0')


def _deflated_npz(file: Path) -> None:
    with zipfile.ZipFile(file, 'w'):
        pass
    header = {'descr': '<f4', 'fortran_order': False, 'shape': (1100 * MIB // 4,)}
    text = repr(header).encode()
    _deflated(file, 'w.npy', b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text)


def _overlapping(file: Path) -> None:
    """The table of records names one record many times."""
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('x/data/0', bytes(8 * MIB))
        for number in range(1, 200):
            info = copy.copy(archive.infolist()[0])
            info.filename = f'x/data/{number}'
            archive.filelist.append(info)


CASES: dict[str, Case] = {
    'a checkpoint whose numbers are compressed zeros': refused(_deflated_checkpoint),
    'an .npz file of compressed zeros': refused(_deflated_npz, 'x.npz'),
    'a checkpoint with records on top of one another': refused(_overlapping),
}

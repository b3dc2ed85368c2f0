"""Files that are far larger than they look, or that never end."""

from __future__ import annotations

import copy
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tests.test_reliability.hostile_tool import (
    Case,
    read_pickle,
    refused,
    write_records,
)

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


def _two_tables(file: Path) -> None:
    """A reader that trusts the stated place would find another table of records."""
    torch.save({'weight': torch.zeros(1)}, file)
    content = file.read_bytes()
    place = zipfile.ZipFile(file).start_dir
    moved = content.replace(struct.pack('<Q', place), struct.pack('<Q', place - 100))
    assert moved != content
    file.write_bytes(moved)
    assert zipfile.ZipFile(file).start_dir == place


def _number(value: int) -> bytes:
    return b'\x8a\x08' + value.to_bytes(8, 'little')


def _claim(file: Path, num_elements: int, zipped: bool) -> None:
    """A storage of four numbers that claims to have more."""
    weights = {'weight': torch.arange(4.0)}
    torch.save(weights, file, _use_new_zipfile_serialization=zipped)
    content = read_pickle(file) if zipped else file.read_bytes()
    claimed = re.sub(b'K\x04(N?t)', _number(num_elements) + rb'\1', content)
    assert claimed != content
    if zipped:
        write_records(file, claimed, **{'0': bytes(16)})
    else:
        file.write_bytes(claimed)


def _shape_beyond(file: Path) -> None:
    """In the old format, torch enlarges a storage to what a shape and strides need."""
    torch.save({'w': torch.arange(4.0)}, file, _use_new_zipfile_serialization=False)
    content = file.read_bytes()
    stride = content.replace(b'K\x01\x85', _number(2**40) + b'\x85')
    assert stride != content
    file.write_bytes(stride)


def _expanded(file: Path) -> None:
    torch.save({'weight': torch.zeros(1).expand(2**40)}, file)
    write_records(file, read_pickle(file), **{'0': bytes(4)})
    loaded = torch.load(file, weights_only=True)['weight']
    assert loaded.numel() == 2**40 and file.stat().st_size < 2000


def _laughing_lists(file: Path) -> None:
    value = []
    for _ in range(40):
        value = [value, value]
    torch.save({'param_groups': value}, file)
    assert torch.load(file, weights_only=True)


class _Counted:
    hashed = 0

    def __hash__(self) -> int:
        _Counted.hashed += 1
        return 0


def _laughing_key(file: Path) -> None:
    key = _Counted()
    for _ in range(10):
        key = key, key
    hash(key)
    assert _Counted.hashed >= 2**10
    doubled = b''.join(b'q%ch%c\x86' % (place, place) for place in range(60))
    write_records(file, b'\x80\x02})' + doubled + b'Ns.')


def _endless(file: Path) -> None:
    value = []
    value.append(value)
    torch.save({'param_groups': value}, file)
    assert torch.load(file, weights_only=True)


def _deep(file: Path) -> None:
    lists = b']' * 10**5 + b'a' * (10**5 - 1)
    write_records(file, b'\x80\x02}U\x01x' + lists + b's.')


def _repeated_array(file: Path) -> None:
    """Many arrays that copy the same bytes."""
    text = 'x' * MIB
    array = np.frombuffer(text.encode(), dtype=np.uint8)

    class Copy:
        def __reduce__(self):
            function, args, state = array.__reduce__()
            return function, args, (*state[:-1], data)

    data = text.encode()
    torch.save({'arrays': [Copy() for _ in range(1200)]}, file)
    assert file.stat().st_size < 2 * MIB


def _calls(module: str, name: str, args: bytes) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        function = f'c{module}\n{name}\n'.encode()
        write_records(file, b'\x80\x02' + function + args + b'R.')

    return write


def _doubled_text(file: Path) -> None:
    """The code ``hex`` doubles a text; again and again, that is 2 ** 40 letters."""
    call = b'c_codecs\nencode\n'
    content = b'U\x01a'
    for _ in range(40):
        content = call + content + b'U\x03hex\x86R'
    assert len(pickle.loads(call + call + b'C\x01aU\x03hex\x86RU\x03hex\x86R.')) == 4
    write_records(file, b'\x80\x02' + content + b'.')


def _safetensors(header: bytes, length: int | None = None) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        claimed = len(header) if length is None else length
        file.write_bytes(struct.pack('<Q', claimed) + header)

    return write


def _npz_claim(file: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}\n"
    with zipfile.ZipFile(file, 'w') as archive:
        start = b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header))
        archive.writestr('weight.npy', start + header)


CASES: dict[str, Case] = {
    'a checkpoint whose numbers are compressed zeros': refused(_deflated_checkpoint),
    'an .npz file of compressed zeros': refused(_deflated_npz, 'x.npz'),
    'a checkpoint with records on top of one another': refused(_overlapping),
    'a checkpoint with a second table of records': refused(_two_tables),
    'a storage that claims 4 TiB of its 16 bytes': refused(
        lambda file: _claim(file, 2**40, zipped=True)
    ),
    'the same in the format of PyTorch before 1.6': refused(
        lambda file: _claim(file, 2**40, zipped=False)
    ),
    'strides that reach far beyond the storage': refused(_shape_beyond),
    'one number, expanded to a tensor of 4 TiB': refused(_expanded),
    'lists in lists, each twice in the next, 40 times': refused(_laughing_lists),
    'the same with tuples, as the key of a dict': refused(_laughing_key),
    'a list that contains itself': refused(_endless),
    'lists, 100,000 deep': refused(_deep),
    '1,200 arrays that copy the same mebibyte': refused(_repeated_array),
    '`bytearray(10**12)`': refused(
        _calls('__builtin__', 'bytearray', _number(10**12) + b'\x85')
    ),
    '`torch.FloatStorage(10**12)`': refused(
        _calls('torch', 'FloatStorage', _number(10**12) + b'\x85')
    ),
    'a text, doubled 40 times by an encoding': refused(_doubled_text),
    'a .safetensors file whose header claims 4 EiB': refused(
        _safetensors(b'{}', 2**62), 'x.safetensors'
    ),
    'a .safetensors file with a header of 20 MiB': refused(
        _safetensors(b'{}'.ljust(20 * MIB)), 'x.safetensors'
    ),
    'an array in an .npz file that claims 4 TB': refused(_npz_claim, 'x.npz'),
}

"""Lists of images that are far larger than they look, or that name other files."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmdmlora.datasets import FGVC
from mmdmlora.datasets.benchmarks.annotation_files import read_json, read_mat
from tests.test_reliability.hostile_tool import Case, refusal, refused

MIB = 2**20


def _sparse_json(file: Path) -> None:
    with open(file, 'wb') as stream:
        stream.truncate(40 * MIB)


def _mat(content: bytes) -> bytes:
    start = b'MATLAB 5.0 MAT-file'.ljust(124) + struct.pack('<H', 0x0100) + b'IM'
    return start + content


def _matrix(kind: int, rows: int, name: bytes = b'') -> bytes:
    return (
        struct.pack('<6I', 14, 10**6, 6, 8, kind, 0)
        + struct.pack('<4I', 5, 8, rows, 1)
        + struct.pack('<2I', 1, len(name))
        + name.ljust(-(-len(name) // 8) * 8, b'\0')
    )


def _deflated_mat(file: Path) -> None:
    content = zlib.compress(_matrix(9, 40 * MIB, b'labels') + bytes(40 * MIB))
    assert len(content) < MIB
    file.write_bytes(_mat(struct.pack('<2I', 15, len(content)) + content))


def _mat_of(content: bytes) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(_mat(content))


def _labels(file: Path) -> np.ndarray:
    return read_mat(str(file), 'labels')


def _outside(path: str) -> Case:
    """A list of VPT that names an image outside the data set's folder."""

    def case(folder: Path) -> str:
        (folder / 'secret.jpg').touch()
        data = folder / 'OxfordFlowers'
        data.mkdir()
        images = {f'jpg/{label}.jpg': label for label in range(101)}
        images[path.format(folder=folder)] = 101
        for split in ('train', 'val', 'test'):
            (data / f'{split}.json').write_text(json.dumps(images))
        (data / 'jpg').mkdir()
        for name in [*images][:-1]:
            (data / name).touch()
        return refusal(lambda root: FGVC(str(root), 'flowers', 'test'), folder)

    return case


CASES: dict[str, Case] = {
    'a list that names `../secret.jpg`': _outside('../secret.jpg'),
    'a list that names `jpg/../../secret.jpg`': _outside('jpg/../../secret.jpg'),
    'a list that names a file by its absolute path': _outside('{folder}/secret.jpg'),
    'a JSON list, 100,000 deep': refused(
        lambda file: file.write_text('[' * 10**5), 'x.json', lambda f: read_json(str(f))
    ),
    'a JSON list of 40 MiB': refused(
        _sparse_json, 'x.json', lambda file: read_json(str(file))
    ),
    'a MATLAB file of compressed zeros': refused(_deflated_mat, 'x.mat', _labels),
    'a MATLAB file with cells in cells, 50,000 deep': refused(
        _mat_of(_matrix(1, 1, b'labels') + _matrix(1, 1) * 50_000), 'x.mat', _labels
    ),
    'a MATLAB file with a cell of 2 billion elements': refused(
        _mat_of(_matrix(1, 2**31 - 1, b'labels')), 'x.mat', _labels
    ),
}

"""Building files that attack who loads them."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmdmlora.io import load_checkpoint_file

Case = Callable[[Path], str]


class Runs:
    """Pickled, it is a call of a function; callable, so that calls can be chained."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call

    def __call__(self):
        """Only makes the instance callable, which pickle asks for."""


def refusal(load: Callable[[Path], Any], file: Path) -> str:
    """Load a file as a user would, and return what the user reads."""
    with pytest.raises(ValueError) as error:
        load(file)
    return str(error.value)


def attack(
    write: Callable[[Path, Path], Any],
    unsafe: Callable[[Path], Any],
    load: Callable[[Path], Any] = load_checkpoint_file,
    name: str = 'x.pth',
    tell: Callable[[Callable, Path], str] = refusal,
) -> Case:
    """A file that leaves a trace where it is loaded in an unsafe way.

    Args:
        write: Writes the file, given its path and that of the trace.
        unsafe: Loads it so that the attack works.
        load: Loads it as a user would.
        name: The file's name.
        tell: Calls ``load`` and says what the user reads.
    """

    def case(folder: Path) -> str:
        file, trace = folder / name, folder / 'executed'
        write(file, trace)
        unsafe(file)
        assert trace.exists(), 'the attack does not work'
        trace.unlink()
        message = tell(load, file)
        assert not trace.exists()
        return message

    return case


def refused(
    write: Callable[[Path], Any],
    name: str = 'x.pth',
    load: Callable[[Path], Any] = load_checkpoint_file,
) -> Case:
    """A file that is refused; ``write`` checks that it is what it should be."""

    def case(folder: Path) -> str:
        write(folder / name)
        return refusal(load, folder / name)

    return case


def unsafe_load(file: Path) -> Any:
    return torch.load(file, weights_only=False)


def unsafe_pickle(file: Path) -> Any:
    return pickle.loads(file.read_bytes())


def write_records(file: Path, content: bytes, **records: bytes) -> None:
    """A checkpoint of torch's format with any pickle and any records."""
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('x/data.pkl', content)
        archive.writestr('x/version', '3\n')
        for name, record in records.items():
            archive.writestr(f'x/data/{name}', record)


def read_pickle(file: Path) -> bytes:
    """The pickle inside a checkpoint of torch's format."""
    with zipfile.ZipFile(file) as archive:
        return archive.read(f'{file.stem}/data.pkl')

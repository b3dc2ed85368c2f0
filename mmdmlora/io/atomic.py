"""Writing files that are either whole or not there."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch

ENDING = '.partial'


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of ``path`` when the block ends well.

    Whoever reads ``path`` finds the old content or the new one, never a part of it, also
    after the process was killed or the machine lost power. The disk needs room for both.

    Args:
        path (str | Path): The file to write. Its folder is made where it's missing; a
            link is followed.

    Yields:
        BinaryIO: The stream to write to. It isn't at ``path`` yet: killed now, the
        process leaves ``.<name>.<random>.partial`` behind, which
        :func:`remove_partial_files` finds.

    Raises:
        OSError: If the file can't be written, as on a full disk; it names ``path``,
            which keeps its old content.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:8]}{ENDING}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, 'xb') as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        # A failed write or sync knows no name.
        error.filename = error.filename or str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def atomic_save(content: object, path: str | Path) -> None:
    """``torch.save`` through :func:`atomic_write`.

    By way of memory: given the stream, ``torch.save`` hides why a write failed.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_write(path) as stream:
        stream.write(buffer.getbuffer())


def remove_partial_files(folder: str | Path) -> None:
    """Remove what :func:`atomic_write` left in a folder when it was killed."""
    for partial in Path(folder).glob(f'.*{ENDING}'):
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a renaming last; only POSIX systems can open a folder for that."""
    if os.name == 'posix':
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""Looking for damaged image files, many at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .header import JPEG_START, find_fault
from .loading import LoadImageFromFile

CHUNK = 256
THREADS = 8


def find_file_fault(path: str) -> str | None:
    """Say what is wrong with an image file, without decoding it if it is a JPEG file.

    Args:
        path: The file.

    Returns:
        'is missing', the operating system's complaint, or the fault that
        :class:`LoadImageFromFile` would find; None if nothing is wrong.
    """
    try:
        with open(path, 'rb') as stream:
            if stream.read(len(JPEG_START)) == JPEG_START:
                return find_fault(stream)
        return LoadImageFromFile().load(path)[1]
    except FileNotFoundError:
        return 'is missing'
    except OSError as error:
        return f'cannot be read ({error.strerror})'


def find_faults(
    paths: Sequence[str],
    judge: Callable[[str], str | None],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, str]:
    """Look at image files with several threads, which wait for the disk together.

    Args:
        paths: The files.
        judge: Says what is wrong with a file, or None.
        progress: Called with the number of files that are done and of all files, from
            the calling thread.

    Returns:
        The faulty files and what is wrong with each, in the order of ``paths``.
    """
    chunks = np.array_split(np.array(paths, dtype=object), -(-len(paths) // CHUNK) or 1)
    faults: dict[str, str] = {}
    done = 0
    with ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(lambda chunk: [judge(path) for path in chunk], chunks)
        for chunk, outcome in zip(chunks, results, strict=True):
            faults.update((p, f) for p, f in zip(chunk, outcome, strict=True) if f)
            done += len(chunk)
            if progress:
                progress(done, len(paths))
    return faults

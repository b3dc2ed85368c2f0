"""A process group of one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import distributed


@contextmanager
def single_process_group(folder: Path) -> Iterator[None]:
    """Start one with gloo inside of this process, and end it."""
    store = distributed.FileStore(str(folder / 'store'), 1)
    distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        distributed.destroy_process_group()

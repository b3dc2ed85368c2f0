"""What the garbage collector passes over while a run is on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def existing_objects_frozen() -> Iterator[None]:
    """Let garbage collections inside pass over the objects that exist before.

    mmengine collects all garbage for each data set that it reads. The imported libraries
    have so many objects that each collection takes 0.2 s. Afterwards they count
    again, unless the process itself has frozen some (``gc.freeze``).
    """
    is_outer = not gc.get_freeze_count()
    gc.freeze()
    try:
        yield
    finally:
        if is_outer:
            gc.unfreeze()

"""What the C library does with memory that a training step has freed."""

from __future__ import annotations

import ctypes
import os

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
NEVER = -1
LARGEST_MMAP_THRESHOLD = 32 * 2**20
VARIABLES = ('MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_')


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for what it allocates next.

    On a CPU each step allocates its tensors anew. glibc returns what a step has freed to
    the system, which gives it out again page by page, filled with zeros: 2,500 page
    faults a step of the embedded backbone, about a tenth of its time, see
    docs/performance.md. Kept memory costs nothing then; the process holds as much as its
    largest step until it ends.

    Returns:
        bool: Whether glibc was told so. False with another C library, and where the
        environment has settings of its own for it (``MALLOC_TRIM_THRESHOLD_``,
        ``MALLOC_MMAP_THRESHOLD_``, ``GLIBC_TUNABLES``).

    Source:
        ``man mallopt``. Blocks above 32 MiB, the largest threshold there is, are
        returned as before.
    """
    if any(name in os.environ for name in VARIABLES):
        return False
    if 'glibc.malloc' in os.environ.get('GLIBC_TUNABLES', ''):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if os.name == 'posix' else None
    if mallopt is None:
        return False
    return bool(
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        and mallopt(M_TRIM_THRESHOLD, NEVER)
    )

"""Filling the memory with what the start of a pipeline gives for each image."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .image_store import ImageStore, StoreWriter
from .records import NotCacheable, split_record

GIB = 2**30
# After so many images the memory for all is estimated.
SAMPLES = 48
# So many images, for each thread, may be waiting to be written.
AHEAD = 4


def fill(num_images: int, run: Callable[[int], Any], budget_gib: float) -> ImageStore:
    """Run the start of a pipeline on each image, on all CPUs of the process.

    Args:
        num_images: The number of images.
        run: Gives the result of an image. It is called in several threads: decoding and
            resizing leave Python's lock to others.
        budget_gib: The most that the images may take.

    Raises:
        NotCacheable: If that isn't enough, or a result can't be kept exactly.
        Exception: What ``run`` raises, such as for a damaged image.
    """
    writer = StoreWriter()
    for count, (pixels, record) in enumerate(_in_order(num_images, run), 1):
        try:
            writer.append(pixels, record)
        except OSError as error:
            raise NotCacheable(f'no memory is left ({error.strerror})') from error
        is_sampled = count == min(SAMPLES, num_images)
        estimate = writer.size * num_images / count
        if writer.size > budget_gib * GIB or is_sampled and estimate > budget_gib * GIB:
            raise NotCacheable(
                f'they need about {estimate / GIB:.3g} GiB, more than '
                f'cache_gib={budget_gib:g}. Raise cache_gib to keep them in memory'
            )
    return writer.finish()


def _in_order(num_images: int, run: Callable[[int], Any]) -> Iterator[tuple]:
    """The results in order; few are waiting at a time."""
    threads = _num_cpus()
    pending: deque = deque()
    pool = ThreadPoolExecutor(threads, 'image-cache')
    try:
        for index in range(num_images):
            pending.append(pool.submit(lambda i: split_record(run(i)), index))
            if len(pending) > AHEAD * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _num_cpus() -> int:
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

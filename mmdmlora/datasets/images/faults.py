"""Looking for damaged image files, many at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from mmcv.transforms import LoadImageFromFile as MMCVLoadImageFromFile
from mmengine.dataset import Compose
from mmengine.logging import print_log

from .loading import LoadImageFromFile

CHUNK = 256
THREADS = 8
SHOWN = 3


def find_file_fault(path: str) -> str | None:
    """Say what is wrong with an image file.

    Args:
        path: The file.

    Returns:
        The fault that :class:`LoadImageFromFile` finds, or the operating system's
        complaint; None if nothing is wrong.
    """
    try:
        return LoadImageFromFile().load(path)[1]
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


def leave_out_corrupt(
    samples: list[dict], pipeline: Compose, source: str
) -> tuple[list[dict], dict[str, str]]:
    """Leave out the images that the pipeline can't load, and warn of them.

    Every image is decoded once.

    Args:
        samples: A data list, a dict with ``img_path`` per image.
        pipeline: The pipeline, whose loading step decides.
        source: What the images belong to, for the message.

    Returns:
        The samples that are left, and the paths of the others with what is wrong.

    Raises:
        ValueError: If nothing is left.
        OSError: If the operating system can't read a file.
    """
    loader = _loader_of(pipeline)
    faults = find_faults([x['img_path'] for x in samples], lambda p: loader.load(p)[1])
    whole = [x for x in samples if x['img_path'] not in faults]
    if not faults:
        return whole, faults
    named = [f'{path} {fault}' for path, fault in faults.items()]
    others = f' and {len(named) - SHOWN} others' if named[SHOWN:] else ''
    message = (
        f'skip_corrupt=True leaves out {len(samples) - len(whole)} of {len(samples)} '
        f'images of {source}: {", ".join(named[:SHOWN])}{others}'
    )
    if not whole:
        raise ValueError(f'{message}. Nothing is left: fetch the images again.')
    print_log(
        f'{message}. Results cannot be compared with those on all images; fetch '
        'these again.',
        logger='current',
        level=logging.WARNING,
    )
    return whole, faults


def _loader_of(pipeline: Compose) -> LoadImageFromFile:
    """The pipeline's first loading step, or one with the settings of mmcv's."""
    steps = (s for s in pipeline.transforms if isinstance(s, MMCVLoadImageFromFile))
    step = next(steps, None) or LoadImageFromFile()
    if isinstance(step, LoadImageFromFile):
        return step
    return LoadImageFromFile(
        color_type=step.color_type,
        imdecode_backend=step.imdecode_backend,
        backend_args=step.backend_args,
    )

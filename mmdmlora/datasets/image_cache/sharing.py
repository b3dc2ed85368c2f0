"""One copy of the images for all processes of a machine."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.logging import print_log

from .image_store import ImageStore
from .records import NotCacheable
from .shared_file import Handle

BOOT_ID = Path('/proc/sys/kernel/random/boot_id')


class Outcome(NamedTuple):
    """What became of filling the memory in a process, for the others to know."""

    handle: Handle | None = None
    reason: str = ''
    """Why the images can't be kept."""
    error: str = ''
    """The message of an exception."""


def fill_once(
    fill: Callable[[], ImageStore], fingerprint: Any
) -> tuple[ImageStore, bool]:
    """Fill the memory in the first process of each machine; the others open it.

    Every process of a distributed run has to call this. In a run of one process it is
    ``fill``.

    Args:
        fill: Fills the memory.
        fingerprint: What the images follow from. A process in which it is another than in
            the first one of the machine fills memory of its own.

    Returns:
        The images, and whether another process has filled them.

    Raises:
        NotCacheable: If the images can't be kept, in all processes of the machine.
        ValueError: If the first process of the machine failed, with its message. There,
            what ``fill`` raises.
    """
    if get_world_size() == 1:
        return fill(), False
    keys = all_gather_object((_machine(), fingerprint))
    first = keys.index(keys[get_rank()])
    outcome, failure, store = Outcome(), None, None
    if first == get_rank():
        outcome, failure, store = _attempt(fill)
    outcome = all_gather_object(outcome)[first]
    if failure is not None:
        raise failure
    if outcome.reason:
        raise NotCacheable(outcome.reason)
    if outcome.error:
        raise ValueError(outcome.error)
    if store is not None:
        return store, False
    try:
        return ImageStore.open(outcome.handle), True
    except OSError as error:
        print_log(
            f'Process {get_rank()} can not open the images in the memory of process '
            f'{first} ({error}): it keeps a copy of its own.',
            logger='current',
            level=logging.WARNING,
        )
        return fill(), False


def _attempt(
    fill: Callable[[], ImageStore],
) -> tuple[Outcome, Exception | None, ImageStore | None]:
    """Fill the memory; a failure is kept until the others know of it."""
    try:
        store = fill()
    except NotCacheable as error:
        return Outcome(reason=str(error)), error, None
    except Exception as error:
        return Outcome(error=f'{error}'), error, None
    return Outcome(handle=store.handle), None, store


def _machine() -> tuple[str, str]:
    boot = BOOT_ID.read_text() if BOOT_ID.exists() else ''
    return socket.gethostname(), boot

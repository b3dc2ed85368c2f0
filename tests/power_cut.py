"""The moment before a change of a file, as the end of a run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from mmengine.fileio import LocalBackend


class PowerCut(BaseException):
    pass


@contextmanager
def cut_before(operation: int) -> Iterator[None]:
    """Raise :class:`PowerCut` instead of the n-th change of a file (from 0)."""
    count = itertools.count()

    def guarded(function):
        def run(*args, **kwargs):
            if next(count) == operation:
                raise PowerCut
            return function(*args, **kwargs)

        return run

    targets = [
        (os, 'replace'),
        (os, 'fsync'),
        (LocalBackend, 'remove'),
        (Path, 'unlink'),
    ]
    with ExitStack() as stack:
        for owner, name in targets:
            stack.enter_context(
                mock.patch.object(owner, name, guarded(getattr(owner, name)))
            )
        yield

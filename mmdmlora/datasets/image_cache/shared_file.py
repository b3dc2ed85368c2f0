"""Memory that other processes of a machine can open, and that ends with them."""

from __future__ import annotations

import mmap
import os
import secrets
import tempfile
from typing import IO, NamedTuple

TOKEN_BYTES = 16


class Handle(NamedTuple):
    """Where another process of the machine finds a finished file."""

    path: str
    size: int
    token: bytes


class SharedFile:
    """A file without a name: memory where the system offers it, else a temporary file.

    The kernel frees it when the last process that has it open or mapped has ended,
    however that ends. A small ``/dev/shm`` doesn't limit it. It is written once, from its
    start to its end, and read through :attr:`content`.
    """

    def __init__(self) -> None:
        if hasattr(os, 'memfd_create'):
            self._file: IO[bytes] = os.fdopen(
                os.memfd_create('mmdmlora'), 'w+b', buffering=0
            )
        else:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115, kept open
        self.size = 0

    def append(self, content: bytes | memoryview) -> None:
        """Write at the end.

        Raises:
            OSError: If there is no room.
        """
        rest = memoryview(content).cast('B')
        self.size += len(rest)
        while rest:  # a write may stop early, at 2 GiB at the latest
            rest = rest[self._file.write(rest) :]

    def finish(self) -> Handle:
        """Write a random token behind the content, by which others know the file."""
        token = secrets.token_bytes(TOKEN_BYTES)
        self.append(token)
        self.handle = Handle(
            f'/proc/{os.getpid()}/fd/{self._file.fileno()}', self.size, token
        )
        self._map()
        return self.handle

    @classmethod
    def open(cls, handle: Handle) -> SharedFile:
        """Open a file that another process, or this one, has finished.

        Raises:
            OSError: If it can't be opened, or the path leads to another file by now.
        """
        shared = cls.__new__(cls)
        shared._file = open(handle.path, 'rb', buffering=0)  # noqa: SIM115, kept open
        shared.size = os.fstat(shared._file.fileno()).st_size
        shared.handle = handle
        if shared.size != handle.size:
            raise OSError(f'{handle.path} is another file by now')
        shared._map()
        if shared.content[-TOKEN_BYTES:] != handle.token:
            raise OSError(f'{handle.path} is another file by now')
        return shared

    def _map(self) -> None:
        mapped = mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ)
        self.content = memoryview(mapped)
        """All bytes, the token included; they can't be written."""

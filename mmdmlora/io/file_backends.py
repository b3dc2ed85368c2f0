"""File backends, in mmengine's sense, for files that must not be lost."""

from __future__ import annotations

from pathlib import Path

from mmengine.fileio import BaseStorageBackend, LocalBackend, register_backend

from .atomic import atomic_write

NAME = 'mmdmlora.AtomicBackend'


class AtomicBackend(LocalBackend):
    """Local files as in mmengine, but a file that is written is whole or not there."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        with atomic_write(filepath) as stream:
            stream.write(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)


def atomic_backend_args() -> dict[str, str]:
    """The ``backend_args`` that make mmengine write through :class:`AtomicBackend`.

    mmengine finds a backend by its name only, so this registers the name first. A second
    call changes nothing.
    """
    register_backend(NAME, AtomicBackend, force=True)
    return dict(backend=NAME)


class LateRemoval:
    """A file backend that only notes which files are to be removed.

    Args:
        backend (BaseStorageBackend): The backend that does everything else.

    Attributes:
        removed (list[str]): The paths to remove later, in the order of the calls.
    """

    def __init__(self, backend: BaseStorageBackend) -> None:
        self.backend = backend
        self.removed: list[str] = []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.removed.append(path)

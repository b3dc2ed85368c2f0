"""Storage backends, in mmengine's sense, for files that must not be lost."""

from __future__ import annotations

from pathlib import Path

from mmengine.fileio import BaseStorageBackend, LocalBackend, register_backend

from mmdmlora.atomic import atomic_write

BACKEND = 'mmdmlora.AtomicBackend'


class AtomicBackend(LocalBackend):
    """Local files as in mmengine, but a file that is written is whole or not there."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        with atomic_write(filepath) as stream:
            stream.write(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)


register_backend(BACKEND, AtomicBackend, force=True)


class LateRemoval:
    """A file backend that notes what to remove instead of removing it."""

    def __init__(self, backend: BaseStorageBackend) -> None:
        self.backend = backend
        self.removed: list[str] = []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.removed.append(path)

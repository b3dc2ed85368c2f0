"""Changing several files of a folder as if at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .atomic import atomic_write


class Journal:
    """Names of files that are being added and removed, kept on the disk meanwhile.

    Whoever was killed in between reads the names at the next start, and removes what
    shouldn't be there::

        journal.add(['new.pth', 'old.pth'])
        ...  # write new.pth, let the record name it, remove old.pth
        journal.close()

    Args:
        path (str | Path): Where the names lie while files change. The file is there
            from the first :meth:`add` to :meth:`close`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._names: set[str] = set()

    def add(self, names: Iterable[str]) -> None:
        """Note names, on the disk when this returns."""
        names = self._names | {*names}
        if names != self._names:
            with atomic_write(self.path) as stream:
                stream.write('\n'.join(sorted(names)).encode())
            self._names = names

    def close(self) -> None:
        """Forget the names: everything is done."""
        if self._names:
            self.path.unlink(missing_ok=True)
            self._names = set()

    def read(self) -> list[str]:
        """The names that a killed process has left."""
        return self.path.read_text().splitlines() if self.path.is_file() else []

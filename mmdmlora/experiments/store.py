"""The results of finished runs, in one file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from .runs import Run

SCHEMA = """
CREATE TABLE IF NOT EXISTS results (
    key TEXT NOT NULL,
    epochs INTEGER NOT NULL,
    config TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (key, epochs)
)
"""
INSERT = 'INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?)'


class Store:
    """Finished runs in an SQLite file: a result that is in it is never lost or repeated.

    Only the process that schedules the runs writes to it; see
    :mod:`~mmdmlora.experiments.scheduler`.

    Args:
        path: The file. It and its folder are made where they're missing.

    Raises:
        ValueError: If the file is no such store.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._connection() as connection:
                connection.execute(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f'{path} can not be used as a store of results ({error}): name another '
                'folder, or remove the file.'
            ) from error

    def add(self, run: Run, record: dict[str, Any]) -> None:
        """Keep a result; of a run that is there already the first stays."""
        row = (*_place(run), run.config, json.dumps(record))
        with self._connection() as connection:
            connection.execute(INSERT, row)

    def add_from(self, path: Path) -> int:
        """Keep the results of another store that aren't here yet.

        Args:
            path: The other file. It isn't changed.

        Returns:
            int: How many were new.

        Raises:
            ValueError: If it is no such store.
        """
        source = f'{path.resolve().as_uri()}?mode=ro'
        columns = 'key, epochs, config, record'
        try:
            with closing(sqlite3.connect(source, uri=True)) as other:
                rows = other.execute(f'SELECT {columns} FROM results').fetchall()
        except sqlite3.Error as error:
            raise ValueError(
                f'{path} is no store of results ({error}): expected the results.sqlite '
                'of another folder.'
            ) from error
        with self._connection() as connection:
            before = connection.total_changes
            connection.executemany(INSERT, rows)
            return connection.total_changes - before

    def get(self, run: Run) -> dict[str, Any] | None:
        """The result of a run; None if it hasn't finished."""
        query = 'SELECT record FROM results WHERE key = ? AND epochs = ?'
        with self._connection() as connection:
            row = connection.execute(query, _place(run)).fetchone()
        return None if row is None else json.loads(row[0])

    def records(self) -> list[dict[str, Any]]:
        """All results, in the order in which they came."""
        with self._connection() as connection:
            rows = connection.execute('SELECT record FROM results ORDER BY rowid')
            return [json.loads(record) for (record,) in rows]

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=60)) as connection, connection:
            yield connection


def _place(run: Run) -> tuple[str, int]:
    return run.key, run.max_epochs

"""Runs on a Ray cluster, or on this machine alone."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmdmlora._requirements import extra

from .execution import RECORD, execute
from .runs import Run
from .store import Store

# Of a worker that was killed, or whose machine was lost.
RETRIES = 5
STORE = 'results.sqlite'
# Called whenever a run ends: with the part of the work, how many of its runs have ended,
# how many there are, and the seconds that it will still take, None at its start.
Show = Callable[[str, int, int, float | None], None]
OBJECT_STORE_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Resources:
    """What each run gets, and where.

    Attributes:
        cpus: CPU cores, and PyTorch's threads.
        gpus: GPUs, or a fraction of one: with 0.25 four runs share it.
        address: A Ray cluster to join, ``auto`` or ``ray://HOST:PORT``; by default one of
            this machine is started.
    """

    cpus: int = 1
    gpus: float = 0.0
    address: str | None = None

    def __post_init__(self) -> None:
        if self.cpus < 1 or self.gpus < 0:
            raise ValueError(
                f'cpus={self.cpus}, gpus={self.gpus}: a run needs at least one core, and '
                'no negative number of GPUs.'
            )


class Scheduler:
    """Runs what isn't in the store yet, as many at once as there is room for.

    A run that was interrupted goes on from its checkpoint. A result is written by the
    process that ran it, then moved into the store by this one: killing either at any
    moment loses no finished run, and none is repeated.

    As a context manager it starts or joins Ray at the first run that is missing, and lets
    go of it in the end.

    Args:
        folder: Where runs and store are. On a cluster all machines must see it.
        resources: What each run gets.
        show: See :data:`Show`.

    Raises:
        ValueError: If another process schedules runs in this folder.
        MissingExtraError: At the first run, if Ray isn't installed.
    """

    def __init__(
        self,
        folder: Path,
        resources: Resources = Resources(),  # noqa: B008 (frozen)
        show: Show = lambda *progress: None,
    ) -> None:
        self.folder = folder
        self.resources = resources
        self.show = show
        self._failures: dict[str, list[Run]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(folder / 'driver.lock', 'w')  # noqa: SIM115 (kept until exit)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f'another process is at work in {folder}: wait for it, or name another '
                'folder with --work-dir.'
            ) from error
        self.store = Store(folder / STORE)
        self._ray: Any = None

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._ray is not None:
            self._ray.shutdown()
        self._lock.close()

    def folder_of(self, run: Run) -> Path:
        """The folder of a run's logs and checkpoints."""
        return self.folder / 'runs' / run.key

    def results(self, runs: Sequence[Run], part: str) -> list[dict[str, Any] | None]:
        """Run what is missing, and return all results.

        Args:
            runs: What is needed.
            part: What they are, to show it.

        Returns:
            list: In the order of the runs; None for one that failed, of which
            :meth:`failures` says why.
        """
        missing = {}
        for run in runs:
            if self.store.get(run) is None and not self._adopt(run):
                missing[run.key] = run
        if missing:
            self._run_all([*missing.values()], part)
        return [self.store.get(run) for run in runs]

    def failures(self) -> list[str]:
        """A message for each reason for which runs have failed."""
        messages = []
        for reason, (first, *others) in self._failures.items():
            more = f', and {len(others)} more' if others else ''
            messages.append(f'{reason}\n    in {first.command()}{more}')
        return messages

    def forget(self, run: Run) -> None:
        """Remove the checkpoints and logs of a run whose result is in the store."""
        shutil.rmtree(self.folder_of(run), ignore_errors=True)

    def _adopt(self, run: Run) -> bool:
        """Take the result of a run that ended after an earlier driver was killed."""
        file = self.folder_of(run) / RECORD
        if file.is_file():
            self.store.add(run, json.loads(file.read_text()))
        return file.is_file()

    def _run_all(self, runs: list[Run], part: str) -> None:
        ray = self._connect()
        remote = ray.remote(
            num_cpus=self.resources.cpus,
            num_gpus=self.resources.gpus,
            max_retries=RETRIES,
        )(execute)
        running = {
            remote.remote(run, self.folder_of(run), self.resources.cpus): run
            for run in runs
        }
        begin = time.monotonic()
        self.show(part, 0, len(runs), None)
        while running:
            (done, *_), _ = ray.wait([*running], num_returns=1)
            run = running.pop(done)
            try:
                self.store.add(run, ray.get(done))
            except ray.exceptions.RayError as error:
                reason = str(getattr(error, 'cause', error))
                self._failures.setdefault(reason, []).append(run)
            finished = len(runs) - len(running)
            pace = (time.monotonic() - begin) / finished
            self.show(part, finished, len(runs), pace * len(running))

    def _connect(self) -> Any:
        if self._ray is None:
            os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
            with extra('experiments'):
                import ray
            address = self.resources.address
            own: dict[str, Any] = dict(
                include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES
            )
            ray.init(
                address=address or 'local',
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else own),
            )
            self._ray = ray
        return self._ray

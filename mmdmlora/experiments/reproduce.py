"""``mmdmlora reproduce``: tables and figures from nothing to a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .cells import Cell
from .claims import check_claims
from .protocol import PROTOCOLS, Finished, Result, finished, needs, run_cells
from .report import write_report
from .scheduler import STORE, Resources, Scheduler, Show
from .store import Store
from .tables import TABLES, Plan, cells_of


@dataclass(frozen=True)
class Request:
    """Which tables are wanted, and how.

    Attributes:
        tables: Names of :data:`~mmdmlora.experiments.tables.TABLES`, or ``all``.
        plan: Backbones, tasks, methods, seeds and search.
        protocol: A name of :data:`~mmdmlora.experiments.protocol.PROTOCOLS`.
        folder: Where runs, results and the report go.
    """

    tables: tuple[str, ...]
    plan: Plan
    protocol: str
    folder: Path

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ValueError(
                f'there is no protocol {self.protocol!r}: known are '
                f'{", ".join(PROTOCOLS)}.'
            )

    @property
    def part(self) -> str:
        return 'paper' if self.protocol == 'paper' else 'test'

    def cells(self) -> dict[str, list[Cell]]:
        """The cells of each wanted table; a table without any is left out."""
        names = tuple(TABLES) if 'all' in self.tables else self.tables
        found = {name: cells_of(name, self.plan) for name in names}
        if not any(found.values()):
            raise ValueError(
                f'the suite {self.plan.suite.name!r} has nothing for '
                f'{", ".join(names)} with these tasks and methods.'
            )
        return {name: cells for name, cells in found.items() if cells}


def dry_run(request: Request) -> str:
    """The runs that each table needs, as text: nothing is run."""
    lines = []
    everything: list[Cell] = []
    for name, cells in request.cells().items():
        need = needs(cells, request.part)
        lines += [f'{name}: {_counts(need.searches, need.final)}']
        lines += [f'  search, {n} trials: {c}' for c, n in need.searches]
        lines += [f'  {run.command()}' for run in need.final]
        everything += cells
    need = needs(everything, request.part)
    return '\n'.join([*lines, f'together: {_counts(need.searches, need.final)}'])


def state(request: Request) -> str:
    """How much of what each table needs is in the store, as text: nothing is run."""
    lines = []
    file = request.folder / STORE
    store = Store(file) if file.is_file() else None
    for name, cells in request.cells().items():
        done = finished(cells, request.part, store) if store else Finished()
        need = needs(cells, request.part)
        lines.append(
            f'{name}: {done.searches} of {len(need.searches)} searches, '
            f'{done.final} of {len(need.final)} final runs'
        )
    return '\n'.join(lines)


def _counts(searches: list[tuple[str, int]], final: Sequence) -> str:
    return (
        f'{sum(trials for _, trials in searches)} search runs of {len(searches)} '
        f'searches, {len(final)} final runs'
    )


def reproduce(
    request: Request,
    resources: Resources,
    command: str,
    show: Show,
) -> tuple[Path, list[str]]:
    """Run what is missing and write the report.

    Args:
        request: What is wanted.
        resources: What each run gets, and where.
        command: What the user called, for the report.
        show: See :data:`~mmdmlora.experiments.scheduler.Show`.

    Returns:
        tuple: The report, ``report.html``, and a message for each reason for which runs
        failed.
    """
    tables = request.cells()
    with Scheduler(request.folder, resources, show) as scheduler:
        cells = [cell for cells in tables.values() for cell in cells]
        result = run_cells(cells, request.part, scheduler)
        failures = scheduler.failures()
    return _report(request, result, command), failures


def _report(request: Request, result: Result, command: str) -> Path:
    suite = request.plan.suite
    return write_report(
        result.outcomes,
        request.folder / 'report',
        title=f'DMLoRA: {", ".join(request.tables)}, suite {suite.name}',
        protocol=PROTOCOLS[request.protocol],
        commands=[command],
        claims=check_claims(result.outcomes),
    )

"""From the cells of a table to its results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from .cells import Cell
from .outcome import Outcome
from .runs import Run
from .scheduler import Scheduler
from .search import Choice, Records, run_searches
from .store import Store

PROTOCOLS = {
    'val': 'Settings were chosen on validation images, by the accuracy after the last '
    'epoch of a training on the training images alone. Shown is the test accuracy after '
    'the last epoch of a training on both, mean and deviation over seeds.',
    'paper': 'Settings are fixed, nothing was searched. Shown is the test accuracy after '
    'the last epoch; "best test epoch" is the best of those that were looked at, which '
    'chooses by the test set and is shown for comparison only.',
}


@dataclass(frozen=True)
class Result:
    """What a table's cells have come to.

    Attributes:
        outcomes: One for each finished final run.
        choices: What the searches have found, by their keys.
        missing: The commands of the final runs without a result.
    """

    outcomes: list[Outcome]
    choices: dict[str, Choice]
    missing: list[str]


def run_cells(cells: Sequence[Cell], part: str, scheduler: Scheduler) -> Result:
    """Search, run what is missing, and collect.

    All searches run side by side, then all final runs. Cells of several tables that need
    the same run share it.

    Args:
        cells: Of any number of tables.
        part: ``test``, or ``paper``, which tests along the way.
        scheduler: Where they run.
    """
    searches = [cell.search for cell in cells if cell.search is not None]
    searched: list[Run] = []

    def results(runs: list[Run], part: str) -> Records:
        searched.extend(runs)
        return scheduler.results(runs, part)

    choices = run_searches(searches, results)
    for run in searched:
        scheduler.forget(run)
    final = [*_final_runs(cells, part, choices)]
    records = scheduler.results([run for _, _, run in final], 'final runs')
    outcomes, missing = [], []
    for (cell, seed, run), record in zip(final, records, strict=True):
        if record is None:
            missing.append(run.command())
        else:
            choice = choices[cell.search.key] if cell.search else None
            outcomes.append(_outcome(cell, seed, record, choice))
    return Result(outcomes, choices, missing)


def _final_runs(
    cells: Sequence[Cell], part: str, choices: dict[str, Choice]
) -> Iterator[tuple[Cell, int, Run]]:
    for cell in cells:
        choice = choices[cell.search.key] if cell.search else None
        if choice is not None and choice.best is None:
            continue  # every trial has failed: the scheduler says why
        for seed, run in cell.runs(choice, part).items():
            yield cell, seed, run


def _outcome(cell: Cell, seed: int, record: dict, choice: Choice | None) -> Outcome:
    best = choice.best if choice else None
    return Outcome(
        table=cell.table,
        backbone=cell.backbone,
        row=cell.row,
        column=cell.column,
        task=cell.task,
        group=cell.group,
        seed=seed,
        accuracy=record['accuracy'],
        best_accuracy=record['best_accuracy'],
        settings=record['settings'],
        search_runs=len(choice.trials) if choice else 0,
        seconds=record['seconds'],
        seconds_per_epoch=record['seconds_per_epoch'],
        step_bytes=record['peak_bytes'],
        details={**record['details'], 'scales': record['scales']},
        ends=cell.left_open.ends(best.settings) if best else (),
    )


class _Missing(Exception):
    """A run that a search needs has no result yet."""


@dataclass(frozen=True)
class Finished:
    """How many searches and final runs are in a store."""

    searches: int = 0
    final: int = 0


def finished(cells: Sequence[Cell], part: str, store: Store) -> Finished:
    """What of the cells is in the store; nothing is run."""

    def results(runs: list[Run], part: str) -> Records:
        records = [store.get(run) for run in runs]
        if any(record is None for record in records):
            raise _Missing
        return records

    choices: dict[str, Choice] = {}
    for search in {c.search.key: c.search for c in cells if c.search}.values():
        with suppress(_Missing):
            choices |= run_searches([search], results)
    decided = [c for c in cells if c.search is None or c.search.key in choices]
    runs = {run.key: run for _, _, run in _final_runs(decided, part, choices)}
    return Finished(len(choices), sum(store.get(r) is not None for r in runs.values()))


@dataclass(frozen=True)
class Need:
    """What a table needs: counts for a dry run.

    Attributes:
        searches: The config and the number of trials of each search.
        final: The final runs; of searched ones with the settings of the config.
    """

    searches: list[tuple[str, int]]
    final: list[Run]


def needs(cells: Sequence[Cell], part: str) -> Need:
    """What the cells need, without running anything; shared runs are counted once."""
    searches = {}
    final = {}
    for cell in cells:
        search = cell.search
        if search is not None:
            searches[search.key] = (cell.config, search.sampler.trials)
        # Settings differ by what another search would choose, and by what of this one's
        # choice the cell doesn't fix.
        origin: tuple[str, ...] = ()
        if search is not None:
            origin = (search.key, *cell.left_open.values)
        for run in cell.runs(None, part).values():
            final[origin, run.key] = run
    return Need([*searches.values()], [*final.values()])

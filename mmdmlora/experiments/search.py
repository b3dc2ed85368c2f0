"""Choosing settings on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .runs import Run
from .scheduler import Scheduler
from .spaces import Sampler, Settings, Space

# Successive halving: after this share of its epochs a trial must be in the best third.
FIRST_RUNG = 0.25
KEPT = 1 / 3


@dataclass(frozen=True)
class Search:
    """The choice of the settings of one config.

    Trials are trained with seed 0 on the training images alone and compared by the
    accuracy on the validation images after their last epoch. With halving only the best
    third of a generation goes beyond a quarter of its epochs. Ties go to the earlier
    trial: a space should name cautious values first.

    Attributes:
        config: See :class:`~mmdmlora.experiments.runs.Run`.
        space: What to choose from; settings that the config doesn't have are left out.
        trials: The number of trials; a space with fewer combinations has fewer.
        fixed: Settings of all trials.
        halving: Whether weak trials are stopped.

    Source:
        Successive halving: arXiv:1502.07943. It waits for all trials of a rung, so that
        the choice doesn't depend on which run ended first.
    """

    config: str
    space: Space
    trials: int
    fixed: Settings = field(default_factory=dict)
    halving: bool = True

    @cached_property
    def sampler(self) -> Sampler:
        space = self.space.of(Run(self.config, self.fixed, part='search'))
        return Sampler(space, self.trials)

    @cached_property
    def key(self) -> str:
        """Equal for searches that make the same choice."""
        run = Run(self.config, self.fixed, part='search')
        return f'{run.key} {self.sampler.space.values} {self.trials} {self.halving}'

    def run_of(self, settings: Settings, share: float = 1.0) -> Run:
        """A trial's run up to a share of its epochs."""
        run = Run(self.config, {**self.fixed, **settings}, part='search')
        until = None if share == 1 else max(1, round(share * run.max_epochs))
        return Run(run.config, run.settings, part='search', until=until)


@dataclass
class Choice:
    """What a search has come to.

    Attributes:
        settings: The best trial's; None as long as there is none.
        accuracy: Its accuracy on the validation images in per cent.
        trials: The number of trials.
        table: Each trial's settings, epochs and accuracy.
    """

    settings: Settings | None
    accuracy: float | None
    trials: int
    table: list[dict[str, Any]]


def run_searches(searches: Sequence[Search], scheduler: Scheduler) -> dict[str, Choice]:
    """Run all searches side by side.

    Args:
        searches: Equal ones are run once.
        scheduler: Where they run.

    Returns:
        dict: By the search's key.
    """
    distinct = {search.key: search for search in searches}
    state: dict[str, dict[int, float]] = {key: {} for key in distinct}
    while True:
        open_searches = {
            key: trials
            for key, search in distinct.items()
            if (trials := _generation(search, state[key]))
        }
        if not open_searches:
            break
        for key, accuracies in _halved(distinct, open_searches, scheduler).items():
            state[key] |= accuracies
    return {key: _choice(s, state[key], scheduler) for key, s in distinct.items()}


def _generation(search: Search, results: dict[int, float]) -> dict[int, Settings]:
    """The trials that can be run now, by their number."""
    proposed = search.sampler.proposals(results)
    return {n: trial for n, trial in enumerate(proposed) if n not in results}


def _halved(
    searches: dict[str, Search],
    trials: dict[str, dict[int, Settings]],
    scheduler: Scheduler,
) -> dict[str, dict[int, float]]:
    """The accuracies of a generation: of those that were stopped, at that time."""
    accuracies: dict[str, dict[int, float]] = {key: {} for key in trials}
    left = trials
    for share in (FIRST_RUNG, 1.0):
        runs = {
            (key, number): searches[key].run_of(settings, share)
            for key, numbered in left.items()
            if searches[key].halving or share == 1
            for number, settings in numbered.items()
        }
        records = scheduler.results([*runs.values()])
        for (key, number), record in zip(runs, records, strict=True):
            # A trial that failed, for example by diverging, is the worst.
            accuracies[key][number] = -1.0 if record is None else record['accuracy']
        if share < 1:
            left = {
                key: _best(numbered, accuracies[key], searches[key].halving)
                for key, numbered in left.items()
            }
    return accuracies


def _best(
    trials: dict[int, Settings], accuracies: dict[int, float], halving: bool
) -> dict[int, Settings]:
    if not halving:
        return trials
    ranked = sorted(trials, key=lambda number: (-accuracies[number], number))
    return {n: trials[n] for n in ranked[: max(1, round(KEPT * len(trials)))]}


def _choice(search: Search, results: dict[int, float], scheduler: Scheduler) -> Choice:
    proposed = search.sampler.proposals(results)
    table = []
    for number, settings in enumerate(proposed):
        whole = search.run_of(settings)
        is_whole = scheduler.store.get(whole) is not None
        epochs = (
            whole.max_epochs if is_whole else search.run_of(settings, FIRST_RUNG).until
        )
        table.append(
            dict(settings=settings, epochs=epochs, accuracy=results[number])
            | dict(is_whole=is_whole)
        )
        scheduler.forget(whole)
    whole_ones = [row for row in table if row['is_whole']]
    best = max(whole_ones, key=lambda row: row['accuracy'], default=None)
    if best is None:
        return Choice(None, None, len(table), table)
    return Choice(best['settings'], best['accuracy'], len(table), table)

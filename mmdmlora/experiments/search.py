"""Choosing settings on validation images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .runs import Run
from .spaces import Sampler, Settings, Space

Records = list[dict[str, Any] | None]
Results = Callable[[list[Run], str], Records]

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
        space: What to choose from.
        trials: The number of trials; a space with fewer combinations has fewer.
        fixed: Settings of all trials.
        halving: Whether weak trials are stopped.
        leaves_out: Whether settings that the config doesn't have are left out of the
            space, as with one space for many methods.

    Source:
        Successive halving: arXiv:1502.07943. It waits for all trials of a rung, so that
        the choice doesn't depend on which run ended first.
    """

    config: str
    space: Space
    trials: int
    fixed: Settings = field(default_factory=dict)
    halving: bool = True
    leaves_out: bool = True

    @cached_property
    def sampler(self) -> Sampler:
        space = self.space
        if self.leaves_out:
            space = space.of(Run(self.config, self.fixed, part='search'))
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


@dataclass(frozen=True)
class Trial:
    """A trial of a search.

    Attributes:
        settings: What it tried.
        epochs: How far it went.
        accuracy: On the validation images in per cent, after these epochs; -1 where it
            failed.
        is_whole: Whether it went to the end.
    """

    settings: Settings
    epochs: int
    accuracy: float
    is_whole: bool


@dataclass(frozen=True)
class Choice:
    """What a search has come to.

    Attributes:
        trials: All trials, in their order.
    """

    trials: list[Trial]

    @property
    def best(self) -> Trial | None:
        """The best of those that went to the end; None if all have failed."""
        whole = [trial for trial in self.trials if trial.is_whole]
        return max(whole, key=lambda trial: trial.accuracy, default=None)


def run_searches(searches: Sequence[Search], results: Results) -> dict[str, Choice]:
    """Run all searches side by side.

    Args:
        searches: Equal ones are run once.
        results: Gives the record of each run, or None for one that failed; it is told
            which part of the search they are. Such as
            :meth:`~mmdmlora.experiments.scheduler.Scheduler.results`.

    Returns:
        dict: By the search's key.
    """
    distinct = {search.key: search for search in searches}
    trials: dict[str, dict[int, Trial]] = {key: {} for key in distinct}
    while True:
        generation = {
            key: new
            for key, search in distinct.items()
            if (new := _generation(search, trials[key]))
        }
        if not generation:
            break
        for key, finished in _halved(distinct, generation, results).items():
            trials[key] |= finished
    return {key: Choice([t[n] for n in sorted(t)]) for key, t in trials.items()}


def _generation(search: Search, trials: dict[int, Trial]) -> dict[int, Settings]:
    """What can be tried now, by its number."""
    accuracies = {number: trial.accuracy for number, trial in trials.items()}
    proposed = search.sampler.proposals(accuracies)
    return {n: settings for n, settings in enumerate(proposed) if n not in trials}


def _halved(
    searches: dict[str, Search],
    generation: dict[str, dict[int, Settings]],
    results: Results,
) -> dict[str, dict[int, Trial]]:
    """A generation of trials, those that were stopped included."""
    trials: dict[str, dict[int, Trial]] = {key: {} for key in generation}
    left = generation
    for share in (FIRST_RUNG, 1.0):
        runs = {
            (key, number): searches[key].run_of(settings, share)
            for key, numbered in left.items()
            if searches[key].halving or share == 1
            for number, settings in numbered.items()
        }
        part = 'first quarter of the trials' if share < 1 else 'trials to their end'
        records = results([*runs.values()], part)
        for (key, number), record in zip(runs, records, strict=True):
            run = runs[key, number]
            trials[key][number] = Trial(
                left[key][number],
                epochs=run.until or run.max_epochs,
                # A trial that failed, for example by diverging, is the worst.
                accuracy=-1.0 if record is None else record['accuracy'],
                is_whole=share == 1 and record is not None,
            )
        if share < 1:
            left = {
                key: _best(numbered, trials[key]) if searches[key].halving else numbered
                for key, numbered in left.items()
            }
    return trials


def _best(settings: dict[int, Settings], trials: dict[int, Trial]) -> dict[int, Settings]:
    ranked = sorted(settings, key=lambda number: (-trials[number].accuracy, number))
    return {n: settings[n] for n in ranked[: max(1, round(KEPT * len(settings)))]}

"""Choosing settings on validation images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from .runs import Run
from .spaces import Sampler, Settings, Space

Records = list[dict[str, Any] | None]
Results = Callable[[list[Run], str], Records]

# Successive halving: with this share of each epoch's batches a trial must be in the best
# third.
FIRST_RUNG = 0.25
KEPT = 1 / 3


@dataclass(frozen=True)
class Search:
    """The choice of the settings of one config.

    Trials are trained with seed 0 on the training images alone and compared by the
    accuracy on the validation images after their last epoch. With halving each is first
    trained on a quarter of the batches of each epoch, so with its whole schedule, and
    only the best third of a generation is trained in full. Ties go to the earlier trial:
    a space should name cautious values first.

    A rung that stops a training at a quarter of its epochs would rank settings by how
    fast they begin, at a high learning rate and before branches are pruned.

    Attributes:
        config: See :class:`~mmdmlora.experiments.runs.Run`.
        space: What to choose from.
        trials: The number of trials; a space with fewer combinations has fewer.
        fixed: Settings of all trials.
        halving: Whether only the best of the short trainings are trained in full.
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
        """A trial's run with a share of each epoch's batches."""
        run = Run(self.config, {**self.fixed, **settings}, part='search')
        if share == 1:
            return run
        return replace(run, settings={**run.settings, **_partial_epochs(run, share)})


@dataclass(frozen=True)
class Trial:
    """A trial of a search.

    Attributes:
        settings: What it tried.
        accuracy: On the validation images in per cent, after its last epoch; -1 where it
            failed.
        is_whole: Whether it was trained in full, or failed at that.
    """

    settings: Settings
    accuracy: float
    is_whole: bool

    @property
    def has_failed(self) -> bool:
        return self.accuracy < 0


@dataclass(frozen=True)
class Choice:
    """What a search has come to.

    Attributes:
        trials: All trials, in their order.
    """

    trials: list[Trial]

    @property
    def best(self) -> Trial | None:
        """The best of those that were trained in full; None if all have failed."""
        whole = (t for t in self.trials if t.is_whole and not t.has_failed)
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
    """A generation of trials, those that were not trained in full included."""
    trials: dict[str, dict[int, Trial]] = {key: {} for key in generation}
    left = generation
    for share in (FIRST_RUNG, 1.0):
        runs = {
            (key, number): searches[key].run_of(settings, share)
            for key, numbered in left.items()
            if searches[key].halving or share == 1
            for number, settings in numbered.items()
        }
        part = 'trials on a quarter of the batches' if share < 1 else 'trials in full'
        records = results([*runs.values()], part)
        for (key, number), record in zip(runs, records, strict=True):
            trials[key][number] = Trial(
                left[key][number],
                # A trial that failed, for example by diverging, is the worst.
                accuracy=-1.0 if record is None else record['accuracy'],
                is_whole=share == 1,
            )
        if share < 1:
            left = {
                key: _best(numbered, trials[key]) if searches[key].halving else numbered
                for key, numbered in left.items()
            }
    return trials


def _best(settings: dict[int, Settings], trials: dict[int, Trial]) -> dict[int, Settings]:
    """The best third; a trial that failed isn't tried again."""
    ranked = sorted(settings, key=lambda number: (-trials[number].accuracy, number))
    kept = ranked[: max(1, round(KEPT * len(settings)))]
    return {n: settings[n] for n in kept if not trials[n].has_failed}


def _partial_epochs(run: Run, share: float) -> Settings:
    """Settings that shorten each epoch of a run, so that its schedule stays whole."""
    loader = run.resolved()['train_dataloader']
    if loader.get('batch_sampler'):
        raise ValueError(
            f'{run.config} has a train_dataloader.batch_sampler, so its epochs can not '
            'be shortened for the first rung of a search: use --no-halving.'
        )
    shortened = dict(
        type='mmdmlora.PartialEpochBatchSampler',
        share=share,
        drop_last=loader.get('drop_last', False),
    )
    # PyTorch takes drop_last from a batch sampler where there is one.
    return {
        'train_dataloader.batch_sampler': shortened,
        'train_dataloader.drop_last': False,
    }

"""Schedules of a training run: pure arithmetic, without a runner or a model.

A run has ``length`` steps, counted from 0: epochs or iterations, as its loop counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

# Of an interval, for fractions such as 1/3 that have no exact value.
TOLERANCE = 1e-9
BOTH, BRANCHES, SCALES = 'both', 'branches', 'scales'
READINGS = {
    'A': (BOTH, SCALES),
    'B': (BOTH, BRANCHES),
    'C': (BRANCHES, BOTH),
}


class Words(NamedTuple):
    """What messages call a run's settings.

    Attributes:
        unit: The steps.
        length: The setting for their number; None: not to be named as a remedy.
        branches: The setting for the number of branches at first.
        none: How to leave pruning out.
    """

    unit: str = 'epochs'
    length: str | None = 'train_cfg.max_epochs'
    branches: str = 'model.backbone.num_branches'
    none: str = 'default_hooks.branch_pruning=None'


CONFIG = Words()


def to_steps(value: float, length: int, name: str, unit: str = 'epochs') -> float:
    """Convert a point of a run to steps.

    Args:
        value (int | float): A whole number of steps, or a float in [0, 1], a fraction
            of the run that survives a change of its length.
        length (int): Steps of the run.
        name (str): What to call the value in a message.
        unit (str): What to call the steps in a message. Defaults to ``epochs``.

    Raises:
        ValueError: If the value is no number, negative or a float above 1.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ValueError(
            f'{name}={value!r} is no number: give {unit} as a whole number, or a '
            'fraction of the run such as 0.1.'
        )
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f'{name}={value} is negative.')
        return value
    if not 0 <= value <= 1:
        raise ValueError(
            f'{name}={value} is no fraction in [0, 1]; give {unit} as a whole number.'
        )
    return value * length


@dataclass(frozen=True)
class PruningPlan:
    """When branches are dropped, and how many.

    The k-th pruning is due ``begin + k * interval`` steps after the start and takes place
    at the start of the next step. What falls due during the last step takes place at its
    start, so that a plan in fractions ends alike in a run of any length.

    Args:
        interval (int | float): Steps between prunings, or a fraction of the run.
        num_pruned (int): Branches dropped each time. Defaults to 1.
        min_branches (int): Branches in the last step. Defaults to 1.
        begin (int | float): Step, or fraction of the run, from which the intervals are
            counted. Defaults to 0.

    Raises:
        ValueError: If an argument is out of range.
    """

    interval: float
    num_pruned: int = 1
    min_branches: int = 1
    begin: float = 0

    def __post_init__(self) -> None:
        if not (isinstance(self.interval, Real) and self.interval > 0):
            raise ValueError(
                f'interval={self.interval} is no positive number: give epochs (or '
                'iterations) as a whole number, or a fraction of the run such as 0.1.'
            )
        for name in ('num_pruned', 'min_branches'):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= 1):
                raise ValueError(f'{name}={value} is no whole number above 0: use one.')

    def branches_at(self, step: int, length: int, total: int) -> int:
        """The number of branches that a step is trained with.

        Args:
            step (int): The step, from 0.
            length (int): Steps of the run.
            total (int): Branches at first.
        """
        interval, begin = self._in_steps(length, CONFIG)
        if step < length - 1:
            prunings = math.floor((step - begin) / interval + TOLERANCE)
        else:
            prunings = math.ceil((length - begin) / interval - TOLERANCE) - 1
        left = total - max(0, prunings) * self.num_pruned
        return max(min(self.min_branches, total), left)

    def check(self, length: int, total: int, words: Words = CONFIG) -> None:
        """Refuse a plan that doesn't drop what it says.

        Args:
            length (int): Steps of the run.
            total (int): Branches at first.
            words (Words): How to put it. Defaults to those of a config by epochs.

        Raises:
            ValueError: If there are fewer branches than ``min_branches``, or the
                prunings don't lead to it; the message names settings that do.
        """
        self._in_steps(length, words)
        surplus = total - self.min_branches
        if surplus < 0:
            raise ValueError(
                f'min_branches={self.min_branches}, but the model has only {total}: use '
                f'min_branches<{total}, or {words.branches}>{self.min_branches}.'
            )
        if surplus % self.num_pruned:
            divisors = [n for n in range(1, surplus + 1) if surplus % n == 0]
            raise ValueError(
                f'num_pruned={self.num_pruned} does not divide the {surplus} branches '
                f'from {total} down to min_branches={self.min_branches}: the last '
                f'pruning would drop {surplus % self.num_pruned}. Use num_pruned='
                f'{" or ".join(map(str, divisors))}, or min_branches='
                f'{total % self.num_pruned or self.num_pruned}.'
            )
        left = self.branches_at(length - 1, length, total)
        if left > self.min_branches:
            remedies = self._remedies(length, surplus // self.num_pruned, words)
            keep = (
                f'min_branches={left} to keep them'
                if left < total
                else f'{words.none} to keep all'
            )
            raise ValueError(
                f'with interval={self.interval:.4g} and begin={self.begin:.4g} pruning '
                f'reaches {left} of {total} branches by the last of {length} '
                f'{words.unit}, not min_branches={self.min_branches}: use '
                f'{", or ".join([*remedies, keep])}.'
            )

    def _remedies(self, length: int, needed: int, words: Words) -> list[str]:
        """Settings with which ``needed`` prunings fit into the run."""
        _, begin = self._in_steps(length, words)
        remedies = []
        if isinstance(self.interval, int):
            longest = int((length - 1 - begin) // needed)
            if longest > 0:
                remedies.append(f'interval<={longest}')
            if words.length and isinstance(self.begin, int):
                steps = self.begin + needed * self.interval + 1
                remedies.append(f'{words.length}>={steps}')
        elif begin < length:
            limit = (1 - begin / length) / needed
            digits = 2 - math.floor(math.log10(limit))
            rounded = math.floor(limit * 10**digits) / 10**digits
            remedies.append(f'interval<{rounded:.{digits}f}')
        return remedies

    def _in_steps(self, length: int, words: Words) -> tuple[float, float]:
        return (
            to_steps(self.interval, length, 'interval', words.unit),
            to_steps(self.begin, length, 'begin', words.unit),
        )


class StagePlan:
    """What is trained in which steps.

    Args:
        stages (str | Sequence[str]): One of :data:`READINGS`, or what each stage trains:
            ``branches``, ``scales`` or ``both``.
        begins (int | float | Sequence[int | float]): Step, or fraction of the run, at
            which each stage but the first begins.

    Raises:
        ValueError: If an argument is unknown, or the two don't fit each other.
    """

    def __init__(
        self, stages: str | Sequence[str], begins: float | Sequence[float]
    ) -> None:
        if isinstance(stages, str):
            if stages not in READINGS:
                raise ValueError(f'stages={stages!r} is none of {list(READINGS)}.')
            stages = READINGS[stages]
        if not isinstance(stages, Sequence):
            raise ValueError(f'stages={stages!r} is neither a reading nor a list.')
        unknown = [s for s in stages if s not in (BOTH, BRANCHES, SCALES)]
        if unknown:
            raise ValueError(
                f'unknown stages {unknown}: a stage trains '
                f'{BRANCHES!r}, {SCALES!r} or {BOTH!r}.'
            )
        begins = tuple(begins) if isinstance(begins, Sequence) else (begins,)
        if len(begins) != len(stages) - 1:
            raise ValueError(
                f'{len(stages)} stages need {len(stages) - 1} begins, not {begins!r}.'
            )
        self.stages = tuple(stages)
        self.begins = begins

    def stage_at(self, step: int, length: int) -> str:
        """What a step trains.

        Args:
            step (int): The step, from 0.
            length (int): Steps of the run.
        """
        return self.stages[sum(begin <= step for begin in self._in_steps(length))]

    def check(self, length: int, unit: str = 'epochs') -> None:
        """Refuse begins that are no points of a run, or not in order.

        Raises:
            ValueError: If so.
        """
        begins = self._in_steps(length, unit)
        if begins != sorted(begins):
            raise ValueError(f'begins={self.begins!r} is not in ascending order.')

    def _in_steps(self, length: int, unit: str = 'epochs') -> list[float]:
        return [to_steps(begin, length, 'begins', unit) for begin in self.begins]

"""Schedules as functions of a run's length: pure arithmetic, without a runner.

A run has ``length`` steps, counted from 0: epochs or iterations, as its loop counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

# Of an interval, for fractions such as 1/3 that have no exact value.
TOLERANCE = 1e-9


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


def find_stage(begins: Sequence[float], step: int) -> int:
    """The index of the stage that a step is in.

    Args:
        begins (Sequence[float]): The step at which each stage but the first begins.
        step (int): The step, from 0.
    """
    return sum(begin <= step for begin in begins)


@dataclass(frozen=True)
class PruningSchedule:
    """When branches are dropped, and how many.

    Args:
        interval (int | float): Steps between prunings, or a fraction of the run.
        num_pruned (int): Branches dropped each time.
        min_branches (int): Branches in the last step.
        begin (int | float): Step, or fraction of the run, from which the intervals are
            counted.
    """

    interval: float
    num_pruned: int
    min_branches: int
    begin: float

    def branches_at(self, step: int, length: int, total: int) -> int:
        """The number of branches that a step is trained with.

        Args:
            step (int): The step, from 0.
            length (int): Steps of the run.
            total (int): Branches at first.
        """
        interval, begin = self._in_steps(length)
        if step < length - 1:
            prunings = math.floor((step - begin) / interval + TOLERANCE)
        else:
            prunings = math.ceil((length - begin) / interval - TOLERANCE) - 1
        left = total - max(0, prunings) * self.num_pruned
        return max(min(self.min_branches, total), left)

    def check(
        self,
        length: int,
        total: int,
        unit: str = 'epochs',
        setting: str | None = 'train_cfg.max_epochs',
    ) -> None:
        """Refuse a schedule that doesn't drop what it says.

        Args:
            length (int): Steps of the run.
            total (int): Branches at first.
            unit (str): What to call the steps in a message. Defaults to ``epochs``.
            setting (str, optional): What sets the length, for the message. Defaults to
                ``train_cfg.max_epochs``.

        Raises:
            ValueError: If there are fewer branches than ``min_branches``, or the
                prunings don't lead to it; the message names settings that do.
        """
        for name in ('interval', 'begin'):
            to_steps(getattr(self, name), length, name, unit)
        surplus = total - self.min_branches
        if surplus < 0:
            raise ValueError(
                f'min_branches={self.min_branches}, but the model has only {total}: use '
                f'min_branches<{total}, or model.backbone.num_branches>'
                f'{self.min_branches}.'
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
            remedies = self._remedies(length, surplus // self.num_pruned, setting)
            keep = (
                f'min_branches={left} to keep them'
                if left < total
                else 'default_hooks.branch_pruning=None to keep all'
            )
            raise ValueError(
                f'with interval={self.interval:.4g} and begin={self.begin:.4g} pruning '
                f'reaches {left} of {total} branches by the last of {length} {unit}, '
                f'not min_branches={self.min_branches}: use '
                f'{", or ".join([*remedies, keep])}.'
            )

    def _remedies(self, length: int, needed: int, setting: str | None) -> list[str]:
        """Settings with which ``needed`` prunings fit into the run."""
        _, begin = self._in_steps(length)
        remedies = []
        if isinstance(self.interval, int):
            longest = int((length - 1 - begin) // needed)
            if longest > 0:
                remedies.append(f'interval<={longest}')
            if setting and isinstance(self.begin, int):
                steps = self.begin + needed * self.interval + 1
                remedies.append(f'{setting}>={steps}')
        elif begin < length:
            limit = (1 - begin / length) / needed
            digits = 2 - math.floor(math.log10(limit))
            rounded = math.floor(limit * 10**digits) / 10**digits
            remedies.append(f'interval<{rounded:.{digits}f}')
        return remedies

    def _in_steps(self, length: int) -> tuple[float, float]:
        return (
            to_steps(self.interval, length, 'interval'),
            to_steps(self.begin, length, 'begin'),
        )

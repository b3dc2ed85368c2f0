"""Comparing two rows of a table over the tasks and seeds that both have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TypeVar

import numpy as np

# Up to so many pairs all sign flips are tried; of more, so many are drawn.
ALL_FLIPS_UP_TO = 16
DRAWN_FLIPS = 20_000
# With fewer pairs not even the most extreme of the 2**k sign flips has p below 0.05.
FEWEST_PAIRS = 6
SIGNIFICANT = 0.05

Seed = TypeVar('Seed', bound=Hashable)


@dataclass(frozen=True)
class Comparison:
    """The paired differences of two rows.

    Attributes:
        mean: The mean difference.
        deviation: The sample standard deviation of the differences; None for one pair.
        p: Of the sign-flip test, two-sided.
        pairs: The number of pairs.
        tasks: The number of tasks.
        tasks_agreeing: The number of tasks whose mean difference has the mean's sign.
    """

    mean: float
    deviation: float | None
    p: float
    pairs: int
    tasks: int
    tasks_agreeing: int

    @property
    def can_be_significant(self) -> bool:
        """Whether there are pairs enough for p to fall below 0.05."""
        return self.pairs >= FEWEST_PAIRS

    @property
    def is_significant(self) -> bool:
        """Whether p is below 0.05."""
        return self.p < SIGNIFICANT


def compare(
    first: Mapping[tuple[str, Seed], float], second: Mapping[tuple[str, Seed], float]
) -> Comparison | None:
    r"""Compare two rows, pair by pair.

    The test is an exact sign-flip test of the mean difference: were there none, each
    difference would be as likely with the other sign,

    .. math::
        p = 2^{-k}\, \#\{\sigma \in \{-1, 1\}^k : |\sigma \cdot d| \ge |\sum d|\}.

    Its units are tasks x seeds. It therefore speaks of these tasks only: the seeds of a
    task share what the task does to both rows, so the pairs are no sample of other
    tasks. How many tasks agree stands beside it for that.

    Args:
        first (Mapping): The value of each (task, seed); a seed may be any key.
        second (Mapping): The same of the row that is subtracted.

    Returns:
        Comparison | None: None where the two have no pair in common.
    """
    of_task: defaultdict[str, list[float]] = defaultdict(list)
    for key, value in first.items():
        if key in second:
            of_task[key[0]].append(value - second[key])
    differences = [d for numbers in of_task.values() for d in numbers]
    if not differences:
        return None
    mean = fmean(differences)
    return Comparison(
        mean=mean,
        deviation=stdev(differences) if len(differences) > 1 else None,
        p=sign_flip_p(differences),
        pairs=len(differences),
        tasks=len(of_task),
        tasks_agreeing=sum(fmean(numbers) * mean > 0 for numbers in of_task.values()),
    )


def sign_flip_p(differences: list[float]) -> float:
    """The two-sided p of a mean difference: exact up to 16 pairs, else drawn, seeded."""
    numbers = np.asarray(differences, dtype=float)
    pairs = len(numbers)
    if pairs <= ALL_FLIPS_UP_TO:
        bits = np.arange(2**pairs)[:, None] >> np.arange(pairs) & 1
        counted = 0
    else:
        bits = np.random.default_rng(0).integers(2, size=(DRAWN_FLIPS, pairs))
        counted = 1  # the observed signs are one of the draws: p is never 0
    flipped = np.abs((2 * bits - 1) @ numbers)
    # Sums of the same numbers in another order may differ in the last digits.
    tolerance = 1e-9 * np.abs(numbers).sum()
    extreme = np.count_nonzero(flipped >= abs(numbers.sum()) - tolerance)
    return float((extreme + counted) / (len(bits) + counted))

"""What a finished run gave, and the averages of many as the paper takes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """One finished final run.

    Attributes:
        table: The table or figure that it belongs to, e.g. 'table3' or 'fig2'.
        backbone: The backbone, e.g. 'ViT-B/16'; in Table 4 its pre-training, e.g. 'MAE'.
        row: The method, e.g. 'DMLoRA-LS'.
        column: What the table varies beside methods and tasks: '10 %' of the training
            images, '4' shots, setting 'S1', 'n = 8' branches, '300 epochs'; '' for
            nothing.
        task: The short name of the task, e.g. 'dsprites-loc'.
        group: 'Natural', 'Specialized', 'Structured' or the benchmark's name.
        seed: The seed of the run.
        accuracy: Test top-1 of the last epoch, in per cent.
        best_accuracy: That of the best test epoch; only in protocol ``paper``.
        settings: The settings, as ``--cfg-options``.
        search_runs: The number of runs that the settings were chosen from.
        seconds: The time of training.
        seconds_per_epoch: The time of one epoch.
        step_bytes: The memory of a training step.
        details: 'dispersion', the measures of
            :func:`~mmdmlora.experiments.dispersion.dispersion`; 'coordinates', its
            ``[[x, y, branch], ...]``; 'scales', the scale of each adapter by its name.
        ends: The searched settings whose choice is at an end of its space, see
            :meth:`~mmdmlora.experiments.spaces.Space.ends`.
    """

    table: str
    backbone: str
    row: str
    column: str
    task: str
    group: str
    seed: int
    accuracy: float
    best_accuracy: float | None
    settings: dict[str, Any]
    search_runs: int
    seconds: float
    seconds_per_epoch: float
    step_bytes: int | None
    details: dict[str, Any] = field(default_factory=dict)
    ends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spread:
    """A mean over seeds.

    Attributes:
        mean: The mean.
        deviation: The sample standard deviation; None for one seed.
        seeds: The number of seeds.
    """

    mean: float
    deviation: float | None
    seeds: int


@dataclass(frozen=True)
class Averages:
    """The averages of one row of a table.

    Attributes:
        tasks: Of each task.
        groups: Of each group: the mean over its tasks.
        overall: Of the mean of the groups' means, the paper's "Avg."; None where no seed
            has all tasks.
    """

    tasks: dict[str, Spread]
    groups: dict[str, Spread]
    overall: Spread | None


def accuracy(outcome: Outcome) -> float | None:
    """The test accuracy of the last epoch, in per cent."""
    return outcome.accuracy


def averages(
    outcomes: Iterable[Outcome],
    value: Callable[[Outcome], float | None] = accuracy,
    tasks: Mapping[str, str] | None = None,
) -> Averages:
    """Average the outcomes of one row: for each seed first, then over the seeds.

    A group's mean is taken over the seeds that have all of its tasks, so that no mean
    depends on which runs are still missing.

    Args:
        outcomes (Iterable[Outcome]): One for each task and seed.
        value (Callable): What to average. Outcomes without it (None) are left out.
            Defaults to the test accuracy.
        tasks (Mapping[str, str], optional): The group of each task that the means must
            cover, as other rows may have more. Defaults to the tasks of ``outcomes``.

    Returns:
        Averages: A group that no seed has in full is left out.

    Raises:
        ValueError: If a task and a seed occur twice.
    """
    outcomes = list(outcomes)
    values = values_by_task(outcomes, value)
    if tasks is None:
        tasks = {outcome.task: outcome.group for outcome in outcomes}
    seeds = sorted({seed for _, seed in values})
    of_task: defaultdict[str, list[float]] = defaultdict(list)
    for (task, _), number in values.items():
        of_task[task].append(number)
    of_group: dict[str, dict[int, float]] = {}
    for group in dict.fromkeys(tasks.values()):
        members = [task for task, its_group in tasks.items() if its_group == group]
        of_group[group] = {
            seed: fmean(values[task, seed] for task in members)
            for seed in seeds
            if all((task, seed) in values for task in members)
        }
    overall = [
        fmean(means[seed] for means in of_group.values())
        for seed in seeds
        if of_group and all(seed in means for means in of_group.values())
    ]
    return Averages(
        {task: spread(of_task[task]) for task in tasks if task in of_task},
        {group: spread(list(m.values())) for group, m in of_group.items() if m},
        spread(overall) if overall else None,
    )


def values_by_task(
    outcomes: Iterable[Outcome], value: Callable[[Outcome], float | None] = accuracy
) -> dict[tuple[str, int], float]:
    """A value of each task and seed.

    Raises:
        ValueError: If a task and a seed occur twice.
    """
    values: dict[tuple[str, int], float] = {}
    for outcome in outcomes:
        number = value(outcome)
        if number is None:
            continue
        key = (outcome.task, outcome.seed)
        if key in values:
            raise ValueError(
                f'{outcome.table} has two outcomes of task {outcome.task!r} with seed '
                f'{outcome.seed}, the second of row {outcome.row!r}, column '
                f'{outcome.column!r}: give the outcomes of one row and column.'
            )
        values[key] = number
    return values


def spread(numbers: list[float]) -> Spread:
    """The mean and the sample deviation of numbers."""
    deviation = stdev(numbers) if len(numbers) > 1 else None
    return Spread(fmean(numbers), deviation, len(numbers))

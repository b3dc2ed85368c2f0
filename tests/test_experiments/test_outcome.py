"""Averages over tasks, groups and seeds."""

import numpy as np
import pytest

from mmdmlora.experiments.outcome import averages
from tests.invented_outcomes import VTAB, accuracies, outcome

TASKS = {'dtd': 'Natural', 'svhn': 'Natural', 'kitti': 'Structured'}


def table(values: dict[tuple[str, int], float], tasks=TASKS):
    return [
        outcome(task=task, group=tasks[task], seed=seed, accuracy=value)
        for (task, seed), value in values.items()
    ]


def test_each_seed_is_averaged_before_the_seeds_are():
    """Against NumPy, on all of VTAB."""
    outcomes = accuracies({'LoRA': 0.0}, VTAB, seeds=range(4))
    by_group: dict[str, np.ndarray] = {}
    for group in dict.fromkeys(VTAB.values()):
        numbers = [o.accuracy for o in outcomes if o.group == group]
        by_group[group] = np.reshape(numbers, (-1, 4)).mean(0)
    found = averages(outcomes)
    for group, seeds in by_group.items():
        assert found.groups[group].mean == pytest.approx(seeds.mean())
        assert found.groups[group].deviation == pytest.approx(seeds.std(ddof=1))
    overall = np.mean(list(by_group.values()), axis=0)
    assert found.overall.mean == pytest.approx(overall.mean())
    assert found.overall.deviation == pytest.approx(overall.std(ddof=1))
    # The mean of the 19 tasks is another number.
    assert found.overall.mean != pytest.approx(np.mean([o.accuracy for o in outcomes]))


def test_a_seed_without_all_tasks_is_left_out_of_means():
    full = {
        (task, 0): value for task, value in zip(TASKS, (10.0, 30.0, 50.0), strict=True)
    }
    found = averages(table({**full, ('dtd', 1): 90.0, ('kitti', 1): 70.0}))
    assert (found.overall.mean, found.overall.deviation, found.overall.seeds) == (
        35,
        None,
        1,
    )
    assert found.tasks['dtd'].mean == 50 and found.tasks['dtd'].seeds == 2
    assert found.groups['Natural'].mean == 20 and found.groups['Natural'].seeds == 1
    assert found.groups['Structured'].mean == 60


def test_tasks_that_no_seed_has_leave_no_mean():
    found = averages(table({('dtd', 0): 10.0, ('kitti', 0): 50.0}), tasks=TASKS)
    assert found.overall is None
    assert set(found.groups) == {'Structured'} and set(found.tasks) == {'dtd', 'kitti'}


def test_values_that_are_none_are_left_out():
    outcomes = table({('dtd', 0): 10.0, ('dtd', 1): 20.0}, {'dtd': 'Natural'})
    assert averages(outcomes, lambda o: o.best_accuracy).tasks == {}
    assert averages([]).overall is None


def test_outcomes_of_two_rows_are_refused():
    outcomes = [outcome(row='LoRA'), outcome(row='Linear')]
    with pytest.raises(ValueError, match="two outcomes of task 'digits' with seed 0"):
        averages(outcomes)

"""Plans of pruning and of stages: their arithmetic, whatever counts the steps."""

import itertools

import pytest

from mmdmlora.models.schedules import PruningPlan, StagePlan, Words, to_steps


def simulated(plan: PruningPlan, length: int, total: int) -> list[int]:
    """Prune whenever it is due; the last step also takes what falls inside of it."""
    interval, due = (
        value if isinstance(value, int) else value * length
        for value in (plan.interval, plan.begin)
    )
    left, counts = total, []
    for step in range(length):
        while left > plan.min_branches and (
            due + interval <= step + 1e-6
            or (step == length - 1 and due + interval < length - 1e-6)
        ):
            due += interval
            left -= plan.num_pruned
        counts.append(max(left, plan.min_branches))
    return counts


def test_branches_of_each_step_equal_the_simulation():
    cases = itertools.product(
        (1, 2, 7, 1 / 3, 0.1, 0.04), (0, 3, 0.25), (1, 2), (1, 3), (1, 2, 9, 30)
    )
    for interval, begin, num_pruned, min_branches, length in cases:
        plan = PruningPlan(interval, num_pruned, min_branches, begin)
        counts = [plan.branches_at(step, length, 8) for step in range(length)]
        assert counts == simulated(plan, length, 8), (plan, length)


@pytest.mark.parametrize(
    'plan, length, expected',
    [
        (PruningPlan(2, min_branches=6), 6, [8, 8, 7, 7, 6, 6]),
        (PruningPlan(2, 2, 4), 6, [8, 8, 6, 6, 4, 4]),
        (PruningPlan(1 / 3, min_branches=6), 3, [8, 7, 6]),
        (PruningPlan(1 / 3, min_branches=6), 1, [6]),
        (PruningPlan(0.25, 1, 7, 0.5), 4, [8, 8, 8, 7]),
    ],
)
def test_plans_that_come_out_even(plan, length, expected):
    plan.check(length, 8)
    assert [plan.branches_at(step, length, 8) for step in range(length)] == expected


@pytest.mark.parametrize(
    'options, length, message',
    [
        (dict(interval=1), 3, 'use X>=8, or min_branches=6 to keep them'),
        (dict(interval=5), 5, 'use X>=36, or no pruning to keep all'),
        (dict(interval=1, min_branches=9), 5, 'min_branches<8, or n>9'),
        (dict(interval=1, num_pruned=2), 9, 'num_pruned=1 or 7, or min_branches=2'),
        (dict(interval=1.5), 9, 'interval=1.5 is no fraction .* give iterations as'),
        (dict(interval=1, begin=-1), 9, 'begin=-1 is negative'),
    ],
)
def test_plans_that_do_not(options, length, message):
    words = Words(unit='iterations', length='X', branches='n', none='no pruning')
    with pytest.raises(ValueError, match=message):
        PruningPlan(**options).check(length, 8, words)


@pytest.mark.parametrize(
    'options', [dict(interval=0), dict(interval='a'), dict(interval=1, num_pruned=0)]
)
def test_bad_numbers(options):
    with pytest.raises(ValueError, match='is no'):
        PruningPlan(**options)


@pytest.mark.parametrize(
    'stages, begins, length, expected',
    [
        ('B', 0.5, 4, ['both', 'both', 'branches', 'branches']),
        ('A', 1, 3, ['both', 'scales', 'scales']),
        ('C', (0.5,), 3, ['branches', 'branches', 'both']),
        (
            ['scales', 'both', 'branches'],
            [1, 0.5],
            4,
            ['scales', 'both'] + 2 * ['branches'],
        ),
        (['both'], (), 2, ['both', 'both']),
    ],
)
def test_stages(stages, begins, length, expected):
    plan = StagePlan(stages, begins)
    plan.check(length)
    assert [plan.stage_at(step, length) for step in range(length)] == expected


@pytest.mark.parametrize(
    'stages, begins, message',
    [
        ('D', 0.5, "stages='D' is none of"),
        (['both', 'x'], 0.5, r"unknown stages \['x'\]"),
        ('B', (0.2, 0.5), '2 stages need 1 begins'),
        (['both', 'scales', 'both'], (0.5, 0.2), 'is not in ascending order'),
        ('B', 1.5, 'begins=1.5 is no fraction'),
        (5, 0.5, 'neither a reading nor a list'),
    ],
)
def test_stages_that_cannot_be(stages, begins, message):
    with pytest.raises(ValueError, match=message):
        StagePlan(stages, begins).check(10)


def test_points():
    assert to_steps(3, 10, 'x') == 3 and to_steps(0.5, 10, 'x') == 5
    with pytest.raises(ValueError, match='x=True is no number: give epochs'):
        to_steps(True, 10, 'x')

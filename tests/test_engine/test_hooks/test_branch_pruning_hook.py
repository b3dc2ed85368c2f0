"""When branches are dropped."""

import itertools
import re

import pytest
from mmengine.hooks import Hook

from mmdmlora.engine import BranchPruningHook
from tests.peft_runner import DMLORA, runner

# Eight steps each.
LOOPS = dict(
    epochs=dict(epochs=4),
    iterations=dict(
        train_cfg=dict(type='ResumableIterBasedTrainLoop', max_iters=8, val_interval=8)
    ),
)


class Spy(Hook):
    """Notes the number of branches in each epoch or training step."""

    def __init__(self, every_step=False):
        self.every_step = every_step
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        model = runner.model.backbone
        counts = {len(a.branches()[0]) for a in model.adapters.values()}
        counts |= {len(a.branches()[1]) for a in model.adapters.values()}
        assert len(counts) == 1
        if batch_idx == 0 or self.every_step:
            self.seen.append(counts.pop())


def counts(tmp_path, epochs, **options):
    spy = Spy()
    pruning = dict(type='BranchPruningHook', **options)
    run = runner(tmp_path, epochs=epochs, hooks=dict(pruning=pruning))
    run.register_hook(spy)
    run.train()
    return spy.seen


@pytest.mark.parametrize(
    'options, expected',
    [
        (dict(interval=1), [4, 3, 2, 1, 1, 1]),
        (dict(interval=2, min_branches=2), [4, 4, 3, 3, 2, 2]),
        (dict(interval=1, num_pruned=2, min_branches=2), [4, 2, 2, 2, 2, 2]),
        (dict(interval=1, num_pruned=3), [4, 1, 1, 1, 1, 1]),
        (dict(interval=1, begin=2), [4, 4, 4, 3, 2, 1]),
        (dict(interval=1 / 3, min_branches=2), [4, 4, 3, 3, 2, 2]),
        (
            dict(interval=0.25, begin=0.5, min_branches=3, criterion='merge'),
            [4, 4, 4, 4, 4, 3],
        ),
        (dict(interval=1 / 30), [4, 1, 1, 1, 1, 1]),
        (dict(interval=100, min_branches=4), [4] * 6),
    ],
)
def test_branches_of_each_epoch(tmp_path, options, expected):
    assert counts(tmp_path, 6, **options) == expected


def test_fraction_scales_with_the_run():
    hook = BranchPruningHook(interval=1 / 30)
    assert [hook.plan.branches_at(e, 300, 8) for e in (9, 10, 69, 70, 299)] == [
        8,
        7,
        2,
        1,
        1,
    ]
    assert [hook.plan.branches_at(e, 900, 8) for e in (29, 30, 209, 210)] == [
        8,
        7,
        2,
        1,
    ]


@pytest.mark.parametrize(
    'options, epochs, expected',
    [
        (dict(interval=1 / 3, min_branches=6), 1, [6]),
        (dict(interval=1 / 3, min_branches=6), 2, [8, 6]),
        (dict(interval=1 / 3, min_branches=6), 3, [8, 7, 6]),
        (dict(interval=1 / 3, min_branches=6), 4, [8, 8, 7, 6]),
        (dict(interval=1 / 3, min_branches=6), 5, [8, 8, 7, 7, 6]),
        (dict(interval=1 / 30), 4, [8, 1, 1, 1]),
        (dict(interval=0.1, begin=0.2), 5, [8, 8, 6, 4, 1]),
    ],
)
def test_short_run_ends_with_what_a_long_one_ends_with(options, epochs, expected):
    hook = BranchPruningHook(**options)
    assert [hook.plan.branches_at(e, epochs, 8) for e in range(epochs)] == expected
    assert hook.plan.branches_at(299, 300, 8) == hook.plan.min_branches
    hook.plan.check(epochs, 8)


def test_fraction_equals_the_whole_number_that_it_stands_for():
    parts = [(1 / n, times, n * times) for n in range(2, 61) for times in range(1, 8)]
    percent = [(n / 100, n, 100) for n in range(1, 51)]
    for fraction, whole, epochs in parts + percent:
        hooks = [BranchPruningHook(interval=interval) for interval in (fraction, whole)]
        for epoch in range(epochs):
            one, two = (hook.plan.branches_at(epoch, epochs, 99) for hook in hooks)
            assert one == two, (fraction, epochs, epoch)


def test_papers_slow_schedule():
    hook = BranchPruningHook(interval=100)
    assert [hook.plan.branches_at(e, 300, 8) for e in (99, 100, 199, 200, 299)] == [
        8,
        7,
        7,
        6,
        6,
    ]


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(interval=0), 'interval=0'),
        (dict(interval=1, num_pruned=0), 'num_pruned=0'),
        (dict(interval=1, min_branches=0), 'min_branches=0'),
        (dict(interval=1, criterion='x'), "criterion='x'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        BranchPruningHook(**options)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(interval=2.5), 'interval=2.5 is no fraction'),
        (dict(interval=1, begin=-1), 'begin=-1 is negative'),
        (dict(interval=1, min_branches=5), 'min_branches=5, .* has only 4: use min_b'),
        (
            dict(interval=1),
            r'reaches 3 of 4 branches by the last of 2 epochs, not min_branches=1: use '
            r'train_cfg.max_epochs>=4, or min_branches=3 to keep them\.',
        ),
        (
            dict(interval=0.5),
            r'interval=0.5 and begin=0 .* reaches 3 of 4 .*: use interval<0.333, or ',
        ),
        (
            dict(interval=1, num_pruned=2),
            'num_pruned=2 does not divide the 3 branches from 4 down to min_branches=1: '
            'the last pruning would drop 1. Use num_pruned=1 or 3, or min_branches=2.',
        ),
        (dict(interval=1, num_pruned=5), 'Use num_pruned=1 or 3, or min_branches=4.'),
    ],
)
def test_schedules_that_cannot_be(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        counts(tmp_path, 2, **options)


OPTION = re.compile(r'(?:train_cfg\.)?(\w+)([<>=]+)([\d.]*\d)(?: or (\d+))*')


def remedies(message):
    """The settings that a message recommends, at the limit that it gives."""
    for name, sign, *values in OPTION.findall(re.split(': use |Use ', message)[1]):
        for text in filter(None, values):
            value = float(text) if '.' in text else int(text)
            yield name, value * (1 - 1e-6) if sign == '<' else value


def test_each_remedy_that_a_message_names_works():
    tried = set()
    for interval, begin, num_pruned, min_branches, epochs in itertools.product(
        (1, 4, 50, 0.04, 1 / 3, 0.6), (0, 2, 0.25), (1, 2, 3), (1, 3), (1, 7, 60)
    ):
        options = dict(
            interval=interval,
            begin=begin,
            num_pruned=num_pruned,
            min_branches=min_branches,
        )
        try:
            BranchPruningHook(**options).plan.check(epochs, 8)
        except ValueError as error:
            divides = 'does not divide' not in str(error)
            for name, value in remedies(str(error)):
                changed = {**options, 'max_epochs': epochs, name: value}
                length = changed.pop('max_epochs')
                tried.add(name)
                try:
                    BranchPruningHook(**changed).plan.check(length, 8)
                except ValueError as left:
                    assert not divides and 'does not divide' not in str(left)
    assert tried == {'interval', 'num_pruned', 'min_branches', 'max_epochs'}


@pytest.mark.parametrize(
    'options, expected',
    [
        (dict(interval=2), [4, 4, 3, 3, 2, 2, 1, 1]),
        (dict(interval=0.25), [4, 4, 3, 3, 2, 2, 1, 1]),
        (dict(interval=1, begin=4), [4, 4, 4, 4, 4, 3, 2, 1]),
        (dict(interval=3, min_branches=2, by_epoch=False), [4, 4, 4, 3, 3, 3, 2, 2]),
        (dict(interval=0.5, min_branches=3, criterion='norm'), [4, 4, 4, 4, 3, 3, 3, 3]),
    ],
)
@pytest.mark.parametrize('loop', LOOPS)
def test_branches_of_each_iteration(tmp_path, loop, options, expected):
    if loop == 'epochs':
        options = dict(options, by_epoch=False)
    spy = Spy(every_step=True)
    pruning = dict(type='BranchPruningHook', **options)
    run = runner(tmp_path, hooks=dict(pruning=pruning), **LOOPS[loop])
    run.register_hook(spy)
    run.train()
    assert spy.seen == expected


def test_epochs_in_a_run_by_iterations(tmp_path):
    pruning = dict(type='BranchPruningHook', interval=1, by_epoch=True)
    run = runner(tmp_path, hooks=dict(pruning=pruning), **LOOPS['iterations'])
    with pytest.raises(ValueError, match=r'by_epoch=True, but .* \(max_iters=8\): leave'):
        run.train()


def test_remedies_count_as_the_loop_does(tmp_path):
    for loop, remedy in (('iterations', 'train_cfg.max_iters>=16, or '), ('epochs', '')):
        hook = dict(type='BranchPruningHook', interval=5, by_epoch=False)
        run = runner(tmp_path, hooks=dict(pruning=hook), **LOOPS[loop])
        with pytest.raises(ValueError, match='by the last of 8 iterations') as error:
            run.train()
        use = f'use interval<=2, or {remedy}min_branches=3 to keep them'
        assert use in str(error.value)


def test_needs_a_dmlora_wrapper(tmp_path):
    wrapper = dict(DMLORA, type='mmdmlora.LoRAModel')
    del wrapper['num_branches']
    hooks = dict(pruning=dict(type='BranchPruningHook', interval=1))
    with pytest.raises(ValueError, match='needs a DMLoRAModel'):
        runner(tmp_path, wrapper=wrapper, hooks=hooks).train()

"""When branches are dropped."""

import pytest
from mmengine.hooks import Hook

from mmdmlora.engine import BranchPruningHook
from tests.peft_runner import DMLORA, runner


class Spy(Hook):
    """Notes the number of branches in each training step."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        model = runner.model.backbone
        counts = {len(a.branches()[0]) for a in model.adapters.values()}
        counts |= {len(a.branches()[1]) for a in model.adapters.values()}
        assert len(counts) == 1
        if batch_idx == 0:
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
        (dict(interval=2), [4, 4, 3, 3, 2, 2]),
        (dict(interval=1, num_pruned=2, min_branches=2), [4, 2, 2, 2, 2, 2]),
        (dict(interval=1, num_pruned=3), [4, 1, 1, 1, 1, 1]),
        (dict(interval=1, num_pruned=2, min_branches=1), [4, 2, 1, 1, 1, 1]),
        (dict(interval=1, begin=2), [4, 4, 4, 3, 2, 1]),
        (dict(interval=1 / 3), [4, 4, 3, 3, 2, 2]),
        (dict(interval=0.25, begin=0.5, criterion='merge'), [4, 4, 4, 4, 4, 3]),
        (dict(interval=100), [4] * 6),
    ],
)
def test_branches_of_each_epoch(tmp_path, options, expected):
    assert counts(tmp_path, 6, **options) == expected


def test_fraction_scales_with_the_run():
    hook = BranchPruningHook(interval=1 / 30)
    assert [hook.target(e, 300, 8) for e in (9, 10, 69, 70, 299)] == [8, 7, 2, 1, 1]
    assert [hook.target(e, 900, 8) for e in (29, 30, 209, 210)] == [8, 7, 2, 1]


def test_papers_slow_schedule():
    hook = BranchPruningHook(interval=100)
    assert [hook.target(e, 300, 8) for e in (99, 100, 199, 200, 299)] == [8, 7, 7, 6, 6]


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
        (dict(interval=1, min_branches=5), 'the model has only 4'),
    ],
)
def test_schedules_that_cannot_be(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        counts(tmp_path, 2, **options)


def test_needs_a_dmlora_wrapper(tmp_path):
    wrapper = dict(DMLORA, type='mmdmlora.LoRAModel')
    del wrapper['num_branches']
    hooks = dict(pruning=dict(type='BranchPruningHook', interval=1))
    with pytest.raises(ValueError, match='needs a DMLoRAModel'):
        runner(tmp_path, wrapper=wrapper, hooks=hooks).train()

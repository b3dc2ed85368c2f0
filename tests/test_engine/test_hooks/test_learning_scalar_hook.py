"""Which stage trains what, and that nothing decays a scale."""

import pytest
import torch
from mmengine.hooks import Hook

from mmdmlora.engine import LearningScalarHook
from tests.peft_runner import DMLORA, runner


class Spy(Hook):
    """Notes for each epoch whether scales and branches changed."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.epochs = []

    def _state(self, runner):
        adapters = runner.model.backbone.adapters.values()
        scales = torch.stack([a.log_scale.detach().clone() for a in adapters])
        branches = torch.cat(
            [b.detach().flatten().clone() for a in adapters for b in [*a.down, *a.up]]
        )
        return scales, branches

    def before_train_epoch(self, runner):
        self.before = self._state(runner)

    def after_train_epoch(self, runner):
        changed = [
            not torch.equal(a, b)
            for a, b in zip(self.before, self._state(runner), strict=True)
        ]
        names = dict(zip(('scales', 'branches'), changed, strict=True))
        self.epochs.append(tuple(n for n, moved in names.items() if moved))


def epochs(tmp_path, number, **options):
    spy = Spy()
    hook = dict(type='LearningScalarHook', **options)
    run = runner(tmp_path, epochs=number, hooks=dict(scalar=hook))
    run.register_hook(spy)
    run.train()
    return spy.epochs


BOTH, BRANCHES, SCALES = ('scales', 'branches'), ('branches',), ('scales',)


@pytest.mark.parametrize(
    'options, expected',
    [
        (dict(), [BOTH, BOTH, BRANCHES, BRANCHES]),
        (dict(stages='B', begins=(1,)), [BOTH, BRANCHES, BRANCHES, BRANCHES]),
        (dict(stages='C', begins=(0.75,)), [BRANCHES] * 3 + [BOTH]),
        (dict(stages='A', begins=(3,)), [BOTH] * 3 + [SCALES]),
        (
            dict(stages=['scales', 'branches', 'both'], begins=[1, 0.75]),
            [SCALES, BRANCHES, BRANCHES, BOTH],
        ),
    ],
)
def test_stages(tmp_path, options, expected):
    got = epochs(tmp_path, 4, **options)
    # All B are zero in the first step, so with fixed branches nothing moves a scale.
    if options.get('stages') == ['scales', 'branches', 'both']:
        got, expected = got[1:], expected[1:]
    assert got == expected


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(stages='D'), "stages='D'"),
        (dict(stages=5), 'stages=5 is neither'),
        (dict(stages=['all'], begins=()), r"unknown stages \['all'\]"),
        (dict(stages=[1, ['all']], begins=(1,)), r"unknown stages \[1, \['all'\]\]"),
        (dict(stages='B', begins=(1, 2)), '2 stages need 1 begins'),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        LearningScalarHook(**options)


def test_begins_out_of_order(tmp_path):
    with pytest.raises(ValueError, match='not in ascending order'):
        epochs(tmp_path, 4, stages=['both', 'scales', 'branches'], begins=(3, 0.5))


@pytest.mark.parametrize('begins', ['x', None, ['x'], float('nan')])
def test_begins_that_are_no_points_of_a_run(tmp_path, begins):
    with pytest.raises(ValueError, match='begins='):
        epochs(tmp_path, 4, begins=begins)


def test_needs_trainable_scales(tmp_path):
    wrapper = dict(DMLORA, learn_scale=False)
    hooks = dict(scalar=dict(type='LearningScalarHook'))
    with pytest.raises(ValueError, match='learn_scale=True'):
        runner(tmp_path, wrapper=wrapper, hooks=hooks).train()


def test_weight_decay_of_scales_is_refused(tmp_path):
    hooks = dict(scalar=dict(type='LearningScalarHook'))
    optim = dict(optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05))
    with pytest.raises(ValueError, match='weight_decay=0.05 to the scales.*Constructor'):
        runner(tmp_path, hooks=hooks, optim_wrapper=optim).train()


class HoldsSpy(Hook):
    """Notes for each iteration what is held."""

    def __init__(self):
        self.held = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        (held,) = {
            (a.holds_branches, a.holds_scale)
            for a in runner.model.backbone.adapters.values()
        }
        self.held.append({(0, 0): 'both', (0, 1): 'branches', (1, 0): 'scales'}[held])


@pytest.mark.parametrize(
    'options, expected',
    [
        (dict(), ['both'] * 4 + ['branches'] * 4),
        (dict(stages='A', begins=3), ['both'] * 3 + ['scales'] * 5),
        (dict(stages='C', begins=0.25), ['branches'] * 2 + ['both'] * 6),
        (
            dict(stages=['both', 'scales', 'branches'], begins=(1, 0.75)),
            ['both'] + ['scales'] * 5 + ['branches'] * 2,
        ),
    ],
)
@pytest.mark.parametrize('loop', ['ResumableIterBasedTrainLoop', None])
def test_stages_of_iterations(tmp_path, loop, options, expected):
    """In a loop by iterations and inside of epochs."""
    if loop:
        changes = dict(train_cfg=dict(type=loop, max_iters=8, val_interval=8))
    else:
        changes = dict(epochs=4)
        options = dict(options, by_epoch=False)
    spy = HoldsSpy()
    hook = dict(type='LearningScalarHook', **options)
    run = runner(tmp_path, hooks=dict(scalar=hook), **changes)
    run.register_hook(spy)
    run.train()
    assert spy.held == expected


def test_epochs_in_a_run_by_iterations(tmp_path):
    hook = dict(type='LearningScalarHook', begins=1, by_epoch=True)
    loop = dict(by_epoch=False, max_iters=8)
    with pytest.raises(ValueError, match='by_epoch=True, but the run counts iterations'):
        runner(tmp_path, hooks=dict(scalar=hook), train_cfg=loop).train()

"""Resuming from what another run wrote."""

import math
import re

import pytest
import torch
from mmengine.runner import Runner

from mmdmlora.engine.hooks.resume_check_hook import LAUNCH
from tests.peft_runner import config

HOOKS = dict(resume_check=dict(type='ResumeCheckHook'))


def make(work_dir, resume=True, epochs=2, change=None, **options) -> Runner:
    cfg = config(work_dir, epochs=epochs, hooks=HOOKS, resume=resume, **options)
    cfg.merge_from_dict(change or {})
    return Runner.from_cfg(cfg)


def schedule(**settings) -> dict:
    return {'param_scheduler': [settings]}


def cosine(**settings) -> dict:
    return schedule(type='CosineAnnealingLR', **settings)


@pytest.fixture
def first(tmp_path):
    make(tmp_path, resume=False).train()
    return tmp_path


def test_a_longer_run_goes_on(first):
    runner = make(first, epochs=3)
    runner.train()
    assert runner.epoch == 3


@pytest.mark.parametrize(
    'change, message',
    [
        (
            {'train_dataloader.batch_size': 16},
            'of a run with batch_size=8, images=16, but this one has batch_size=16, '
            'images=32. Resume with the same.*load_from=FILE',
        ),
        (
            {'train_dataloader.num_batch_per_epoch': 3},
            'of a run with images=16, but this one has images=24',
        ),
        (
            {'model.head.num_classes': 12},
            r'head.fc.weight has shape \(10, 24\), not \(12, 24\).*config that it was',
        ),
        (
            {'optim_wrapper.accumulative_counts': 2},
            'with accumulative_counts=1, but this one has accumulative_counts=2',
        ),
        (
            {
                'train_cfg': dict(
                    type='ResumableIterBasedTrainLoop', max_iters=9, _delete_=True
                )
            },
            'with counts=epochs, but this one has counts=iterations',
        ),
        ({'randomness.seed': 5}, 'of a run with seed=0, but this one has seed=5'),
        (
            {'optim_wrapper.optimizer.lr': 0.5},
            'of a run with optimizer.lr=0.01, but this one has optimizer.lr=0.5. Resume',
        ),
        (
            {'optim_wrapper.paramwise_cfg': dict(branch_lr='sqrt')},
            'with paramwise_cfg.branch_lr=None, but .* has paramwise_cfg.branch_lr=sqrt',
        ),
        (schedule(type='ConstantLR'), 'run with 0 schedules, but this one has 1'),
        ({'model.backbone.rank': 3}, r'has shape \(2, 24\), not \(3, 24\)'),
        ({'model.backbone.num_branches': 3}, 'is unknown here'),
    ],
)
def test_another_run_is_refused_and_the_checkpoint_stays(first, change, message):
    content = (first / 'epoch_2.pth').read_bytes()
    with pytest.raises(ValueError, match=message):
        make(first, change=change).train()
    assert (first / 'epoch_2.pth').read_bytes() == content


def test_another_method_is_refused(first):
    with pytest.raises(ValueError, match='does not fit the config: .* is missing'):
        make(first, wrapper=dict(type='mmdmlora.BitFitModel')).train()


def test_another_frozen_backbone_is_refused(first):
    init_cfg = dict(type='Constant', layer='Conv2d', val=0.1)
    change = {'model.backbone.module.init_cfg': init_cfg}
    with pytest.raises(ValueError, match='trained on another frozen backbone'):
        make(first, change=change).train()


def test_other_numbers_of_processes_are_refused_both_ways(first):
    """A process can't tell how many there were: the file is changed to say two."""
    file = first / 'epoch_2.pth'
    checkpoint = torch.load(file)
    assert checkpoint['meta'][LAUNCH]['processes'] == 1
    checkpoint['meta'][LAUNCH]['processes'] = 2
    torch.save(checkpoint, file)
    with pytest.raises(
        ValueError, match='with processes=2, but this one has processes=1'
    ):
        make(first).train()


def test_weights_alone_may_come_from_any_run(first):
    """load_from without resume: fine-tuning on from another run's weights is usual."""
    runner = make(
        first,
        resume=False,
        load_from=str(first / 'epoch_2.pth'),
        change={'train_dataloader.batch_size': 16},
    )
    runner.train()
    assert runner.epoch == 2


def test_checkpoint_without_the_record(first):
    file = first / 'epoch_2.pth'
    checkpoint = torch.load(file)
    del checkpoint['meta'][LAUNCH]
    torch.save(checkpoint, file)
    make(first, epochs=3).train()


def test_a_checkpoint_of_a_version_that_recorded_no_optimizer(first):
    file = first / 'epoch_2.pth'
    checkpoint = torch.load(file)
    launch = checkpoint['meta'][LAUNCH]
    checkpoint['meta'][LAUNCH] = {k: v for k, v in launch.items() if '.' not in k}
    torch.save(checkpoint, file)
    make(first, epochs=3).train()


def test_a_tuple_may_have_become_a_list(tmp_path):
    for epochs, betas in ((2, (0.8, 0.9)), (3, [0.8, 0.9])):
        change = {'optim_wrapper.optimizer.betas': betas}
        make(tmp_path, epochs=epochs, change=change).train()


def test_the_record_does_not_depend_on_the_model_being_ours(tmp_path):
    make(tmp_path, wrapper=None).train()
    make(tmp_path, wrapper=None, epochs=3).train()
    assert torch.load(tmp_path / 'epoch_3.pth')['meta'][LAUNCH] == dict(
        counts='epochs',
        processes=1,
        batch_size=8,
        images=16,
        accumulative_counts=1,
        seed=0,
        **{
            'optimizer.type': 'AdamW',
            'optimizer.lr': 0.01,
            'optimizer.weight_decay': 0.05,
        },
    )


FIRST = cosine(T_max=4, end=4)


@pytest.mark.parametrize(
    'now, message',
    [
        (FIRST, ''),
        (
            cosine(T_max=8, end=4),
            'The schedules of the checkpoint stay, with param_scheduler.0.T_max=4; those '
            'of this run, with param_scheduler.0.T_max=8, have no effect',
        ),
        (cosine(T_max=4), '0.end=4; those of this run, with param_scheduler.0.end=3,'),
        (
            schedule(type='ExponentialLR', gamma=0.5, end=4),
            'with param_scheduler.0.gamma=None; .* with param_scheduler.0.gamma=0.5',
        ),
        (
            schedule(type='MultiStepLR', milestones=[2], end=4),
            'with .*0.milestones=Counter',
        ),
    ],
)
def test_other_schedules_are_warned_of(tmp_path, caplog, now, message):
    make(tmp_path, resume=False, change=FIRST).train()
    runner = make(tmp_path, epochs=3, change=now)
    runner.logger.addHandler(caplog.handler)
    runner.train()
    assert re.search(message, caplog.text)
    assert ('have no effect' in caplog.text) == bool(message)


def test_equal_milestones_are_not_warned_of(tmp_path, caplog):
    """They are kept as a Counter, which a checkpoint holds in plain form."""
    steps = schedule(type='MultiStepLR', milestones=[1, 2], end=4)
    make(tmp_path, resume=False, change=steps).train()
    runner = make(tmp_path, epochs=3, change=steps)
    runner.logger.addHandler(caplog.handler)
    runner.train()
    assert 'have no effect' not in caplog.text


@pytest.mark.parametrize('now', [FIRST, cosine(T_max=8, end=8)])
def test_the_schedule_of_the_checkpoint_stays(tmp_path, now):
    make(tmp_path, resume=False, change=FIRST).train()
    runner = make(tmp_path, epochs=3, change=now)
    runner.train()
    rate = runner.optim_wrapper.get_lr()['lr'][0]
    assert rate == pytest.approx(0.01 * (1 + math.cos(math.pi * 3 / 4)) / 2)

"""Schedules of plain loops: what they do to a model, and after a resume."""

import copy

import pytest
import torch
from torch import nn

import mmdmlora
from tests.plain_models import build, pictures, timm_vit

EPOCHS = 6


def dmlora(**options) -> nn.Module:
    options = {**dict(num_branches=4, rank=2, seed=3, scale=3.0), **options}
    return mmdmlora.wrap(timm_vit(), 'dmlora', ['head'], **options)


def counts_of(model: nn.Module, schedule, steps: int) -> list[int]:
    counts = []
    for _ in range(steps):
        counts.append(model.num_branches)
        schedule.step()
    return counts


@pytest.mark.parametrize(
    'options, expected',
    [
        (dict(interval=1), [4, 3, 2, 1, 1, 1]),
        (dict(interval=1 / 3, min_branches=2), [4, 4, 3, 3, 2, 2]),
        (dict(interval=1, num_pruned=3, begin=2), [4, 4, 4, 1, 1, 1]),
        (dict(interval=1 / 30, criterion='merge'), [4, 1, 1, 1, 1, 1]),
        (dict(interval=2, min_branches=2, criterion='norm'), [4, 4, 3, 3, 2, 2]),
    ],
)
def test_branches_of_each_epoch(options, expected):
    model = dmlora()
    schedule = mmdmlora.BranchPruningSchedule(model, total=EPOCHS, **options)
    assert counts_of(model, schedule, EPOCHS) == expected
    schedule.step()
    assert model.num_branches == expected[-1]


def test_a_run_of_one_epoch_begins_with_its_last():
    model = dmlora()
    mmdmlora.BranchPruningSchedule(model, interval=1 / 3, total=1, min_branches=2)
    assert model.num_branches == 2


def test_stages_of_the_scales():
    model = dmlora()
    schedule = mmdmlora.LearningScalarSchedule(model, total=4, stages='B', begins=0.5)
    trained = []
    images, labels = pictures()
    for _ in range(4):
        nn.functional.cross_entropy(model(images), labels).backward()
        scales = [scale.grad is not None for scale in model.scale_parameters()]
        assert len(set(scales)) == 1
        trained.append(scales[0])
        model.zero_grad()
        schedule.step()
    assert trained == [True, True, False, False]


def test_wrappers_inside_of_a_larger_model_and_its_averages():
    model = nn.Sequential(dmlora(), nn.Linear(3, 3))
    average = torch.optim.swa_utils.AveragedModel(model)
    schedule = mmdmlora.BranchPruningSchedule(
        model, interval=1, total=4, averages=[average]
    )
    mmdmlora.LearningScalarSchedule(model, total=4)
    for _ in range(4):
        schedule.step()
    one, other = model[0], average.module[0]
    assert one.num_branches == other.num_branches == 1
    for mine, its in zip(one.adapters.values(), other.adapters.values(), strict=True):
        assert mine.active() == its.active()


class Loop:
    """A plain loop whose state is saved and loaded."""

    def __init__(self):
        self.model = dmlora()
        self.optimizer = torch.optim.AdamW(self.model.parameter_groups(), 1e-2)
        self.parts = [
            self.model,
            self.optimizer,
            mmdmlora.BranchPruningSchedule(
                self.model, 1 / 3, total=EPOCHS, min_branches=2, criterion='merge'
            ),
            mmdmlora.LearningScalarSchedule(
                self.model, total=EPOCHS, optimizer=self.optimizer
            ),
        ]

    def state(self):
        return copy.deepcopy([part.state_dict() for part in self.parts])

    def load(self, state, order):
        for index in order:
            self.parts[index].load_state_dict(copy.deepcopy(state[index]))

    def run(self, begin):
        for epoch in range(begin, EPOCHS):
            for step in range(2):
                images, labels = pictures(seed=2 * epoch + step)
                loss = nn.functional.cross_entropy(self.model(images), labels)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
            for schedule in self.parts[2:]:
                schedule.step()
            yield self.state()


@pytest.mark.parametrize('order', [(0, 1, 2, 3), (3, 2, 1, 0)])
def test_a_resumed_loop_goes_on_as_if_it_had_not_stopped(order):
    torch.manual_seed(0)
    whole = Loop()
    states = [whole.state(), *whole.run(0)]
    for killed in range(EPOCHS):
        torch.manual_seed(0)
        resumed = Loop()
        resumed.load(states[killed], order)
        *_, last = resumed.run(killed)
        assert last[2:] == states[-1][2:]
        for name, tensor in states[-1][0].items():
            assert torch.equal(last[0][name], tensor), (killed, name)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(interval=1, total=2), r'use total>=4, or min_branches=3 to keep them\.'),
        (dict(interval=9, total=9), 'total>=28, or no BranchPruningSchedule to keep all'),
        (dict(interval=1, total=0), 'total=0 is no whole number'),
        (dict(interval=1, total=2.5), 'total=2.5 is no whole number'),
        (dict(interval=1, total=9, criterion='x'), "criterion='x' is unknown"),
        (dict(interval=1, total=9, min_branches=5), 'or num_branches>5'),
    ],
)
def test_schedules_that_cannot_be_change_nothing(options, message):
    model = dmlora()
    with pytest.raises(ValueError, match=message):
        mmdmlora.BranchPruningSchedule(model, **options)
    assert model.num_branches == 4


def test_models_that_a_schedule_is_not_for():
    model = build('timm vit')
    lora = mmdmlora.wrap(build('timm vit'), 'lora')
    for each in (model, lora):
        with pytest.raises(ValueError, match="method='dmlora', or leave the schedule"):
            mmdmlora.BranchPruningSchedule(each, interval=1, total=9)
        with pytest.raises(ValueError, match='learn_scale=True, or leave the schedule'):
            mmdmlora.LearningScalarSchedule(each, total=9)


def test_an_optimizer_that_decays_the_scales():
    model = dmlora()
    optimizer = torch.optim.AdamW(model.trainable_parameters(), weight_decay=0.1)
    with pytest.raises(ValueError, match=r'weight_decay=0.1 .*parameter_groups\(\)'):
        mmdmlora.LearningScalarSchedule(model, total=4, optimizer=optimizer)
    optimizer = torch.optim.AdamW(model.parameter_groups(), weight_decay=0.1)
    mmdmlora.LearningScalarSchedule(model, total=4, optimizer=optimizer)

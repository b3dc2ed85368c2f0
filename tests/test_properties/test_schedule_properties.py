"""Any schedule equals its simulation, in any run, and goes on after a resume."""

from __future__ import annotations

import copy
import logging
from fractions import Fraction
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdmlora.engine import BranchPruningHook, LearningScalarHook
from mmdmlora.models import DMLoRAModel
from mmdmlora.models.methods.low_rank_model import LowRankModel
from mmdmlora.models.pruning import CRITERIA
from mmdmlora.models.schedules import to_steps
from mmdmlora.quiet_log import quiet_log
from tests.tiny import randomize, wrapped

RUNS = st.integers(1, 300)
PARTS = st.integers(1, 40).flatmap(
    lambda q: st.integers(0, q).map(lambda p: Fraction(p, q))
)
POINTS = st.one_of(st.integers(0, 310), PARTS)
TRAINS = dict(both=(True, True), branches=(True, False), scales=(False, True))


def given_as(value: int | Fraction) -> int | float:
    return value if isinstance(value, int) else float(value)


def exact(value: int | Fraction, run: int) -> int | Fraction:
    return value if isinstance(value, int) else value * run


@st.composite
def prunings(draw) -> SimpleNamespace:
    return SimpleNamespace(
        interval=draw(POINTS.filter(bool)),
        begin=draw(POINTS),
        num_pruned=draw(st.integers(1, 4)),
        min_branches=draw(st.integers(1, 9)),
        total=draw(st.integers(1, 12)),
    )


def hook(case: SimpleNamespace, **changes) -> BranchPruningHook:
    options = {**vars(case), **changes}
    del options['total']
    for name in ('interval', 'begin'):
        options[name] = given_as(options[name])
    return BranchPruningHook(**options)


def simulated(case: SimpleNamespace, epoch: int, run: int) -> int:
    """Prune whenever it is due; the last epoch also takes what falls inside of it."""
    least, left = min(case.min_branches, case.total), case.total
    interval, due = exact(case.interval, run), exact(case.begin, run)
    while left > least:
        due += interval
        if not (due <= epoch or (epoch == run - 1 and due < run)):
            break
        left -= case.num_pruned
    return max(least, left)


@given(case=prunings(), run=RUNS)
def test_branches_of_each_epoch_equal_the_simulation(case, run):
    kept = [hook(case).plan.branches_at(epoch, run, case.total) for epoch in range(run)]
    assert kept == [simulated(case, epoch, run) for epoch in range(run)]
    assert kept == sorted(kept, reverse=True)
    assert min(kept) >= min(case.min_branches, case.total) and max(kept) <= case.total


@given(case=prunings(), run=RUNS, data=st.data())
def test_epochs_and_the_same_fraction_agree(case, run, data):
    interval, begin = data.draw(st.integers(1, run)), data.draw(st.integers(0, run))
    whole = hook(case, interval=interval, begin=begin)
    share = hook(case, interval=Fraction(interval, run), begin=Fraction(begin, run))
    for epoch in range(run):
        targets = [h.plan.branches_at(epoch, run, case.total) for h in (whole, share)]
        assert targets[0] == targets[1]


@given(case=prunings(), run=RUNS, other=RUNS, interval=PARTS.filter(bool), begin=PARTS)
def test_fractions_end_alike_in_runs_of_any_length(case, run, other, interval, begin):
    schedule = hook(case, interval=interval, begin=begin)
    ends = {schedule.plan.branches_at(n - 1, n, case.total) for n in (run, other)}
    assert len(ends) == 1


def fake_runner(model: torch.nn.Module, step: int, run: int) -> SimpleNamespace:
    """What a hook reads of a runner whose loop counts epochs."""
    return SimpleNamespace(
        model=model,
        epoch=step,
        max_epochs=run,
        iter=step,
        max_iters=run,
        train_loop=None,
        logger=logging.getLogger('mmdmlora.tests'),
        optim_wrapper=SimpleNamespace(param_groups=[]),
        param_schedulers=None,
        hooks=[],
    )


def dmlora(total: int) -> DMLoRAModel:
    with quiet_log():
        model = wrapped('DMLoRAModel', rank=2, num_branches=total)
    randomize(model)
    return model


@given(
    case=prunings(),
    total=st.integers(1, 6),
    run=st.integers(1, 12),
    criterion=st.sampled_from(CRITERIA),
    data=st.data(),
)
def test_a_resumed_run_prunes_as_an_uninterrupted_one(case, total, run, criterion, data):
    case.total = total
    killed, states = data.draw(st.integers(0, run)), []
    whole = dmlora(total)
    for epoch in range(run):
        states.append(copy.deepcopy(whole.state_dict()))
        hook(case, criterion=criterion).before_train_epoch(fake_runner(whole, epoch, run))
        assert whole.num_branches == simulated(case, epoch, run)
    states.append(whole.state_dict())
    resumed = dmlora(total)
    resumed.load_state_dict(states[killed])
    for epoch in range(killed, run):
        for _ in range(2):  # a second call in an epoch changes nothing
            hook(case, criterion=criterion).before_train_epoch(
                fake_runner(resumed, epoch, run)
            )
    for mine, theirs in zip(
        resumed.adapters.values(), whole.adapters.values(), strict=True
    ):
        assert mine.active() == theirs.active()
    for name, tensor in resumed.state_dict().items():
        assert torch.equal(tensor, states[-1][name]), name


@pytest.fixture(scope='module')
def scaled():
    with quiet_log():
        return wrapped('LoRAModel', rank=1, learn_scale=True)


@given(
    stages=st.lists(st.sampled_from([*TRAINS]), min_size=1, max_size=4),
    run=st.integers(1, 40),
    data=st.data(),
)
def test_each_epoch_is_in_one_stage(scaled, stages, run, data):
    count = len(stages) - 1
    begins = data.draw(st.lists(POINTS, min_size=count, max_size=count))
    starts = [exact(begin, run) for begin in begins]
    options = dict(stages=stages, begins=[given_as(begin) for begin in begins])
    ongoing = LearningScalarHook(**options)
    with patch.object(LowRankModel, 'set_trained') as chosen:
        if starts != sorted(starts):
            with pytest.raises(ValueError, match='ascending'):
                ongoing.before_train(fake_runner(scaled, 0, run))
            return
        ongoing.before_train(fake_runner(scaled, 0, run))
        bounds = [0, *starts, max([run, *starts])]
        for epoch in range(run):
            inside = [
                stage
                for stage, start, end in zip(stages, bounds[:-1], bounds[1:], strict=True)
                if start <= epoch < end
            ]
            assert len(inside) == 1
            branches, scales = TRAINS[inside[0]]
            for one in (ongoing, LearningScalarHook(**options)):
                one.before_train_epoch(fake_runner(scaled, epoch, run))
                chosen.assert_called_with(branches=branches, scales=scales)


@given(value=POINTS, run=RUNS)
def test_points_of_a_run(value, run):
    got = to_steps(given_as(value), run, 'x')
    assert got == pytest.approx(float(exact(value, run)))
    assert isinstance(value, int) or 0 <= got <= run

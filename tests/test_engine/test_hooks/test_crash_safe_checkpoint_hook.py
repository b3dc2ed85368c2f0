"""A kill before each file operation, broken and foreign files, moved folders."""

import itertools
import os
import shutil
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from mmdmlora.apis.run import prepare
from mmdmlora.engine.duration import seconds_of
from mmdmlora.engine.hooks import CrashSafeCheckpointHook, crash_safe_checkpoint_hook
from mmdmlora.engine.hooks.crash_safe_checkpoint_hook import UNVALIDATED
from tests.peft_runner import config
from tests.soak_resume import check_files, differences

EPOCHS = 4
PRUNING = dict(pruning=dict(type='BranchPruningHook', interval=1))


class PowerCut(BaseException):
    pass


def make(
    work_dir: Path,
    resume: bool = True,
    keep: int = 1,
    interval: int | str = 1,
    **overrides,
) -> Runner:
    cfg = config(work_dir, epochs=EPOCHS, hooks=PRUNING, resume=resume, **overrides)
    cfg.default_hooks.checkpoint.max_keep_ckpts = keep
    cfg.default_hooks.checkpoint.interval = interval
    return Runner.from_cfg(prepare(cfg))


class Dies(Hook):
    """Fails in the first step of an epoch (from 0)."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch == self.epoch:
            raise PowerCut


def train_until(epoch: int, work_dir: Path, **options) -> None:
    """Train so many epochs of a longer run."""
    runner = make(work_dir, **options)
    runner.register_hook(Dies(epoch))
    with pytest.raises(PowerCut):
        runner.train()


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> Path:
    work_dir = tmp_path_factory.mktemp('whole')
    make(work_dir).train()
    return work_dir


def cut_before(operation: int) -> list:
    """Patches that make the n-th change of a file fail, and count the changes."""
    count = itertools.count()

    def guarded(function):
        def run(*args, **kwargs):
            if next(count) == operation:
                raise PowerCut
            return function(*args, **kwargs)

        return run

    targets = [(os, 'replace'), (os, 'fsync'), (LocalBackend, 'remove')]
    return [mock.patch.object(a, b, guarded(getattr(a, b))) for a, b in targets]


@pytest.fixture
def always_better():
    """Each validation gives a new best checkpoint."""
    with mock.patch.dict(CheckpointHook.rule_map, greater=lambda new, old: True):
        yield


@pytest.fixture(scope='module')
def whole_better(tmp_path_factory) -> Path:
    work_dir = tmp_path_factory.mktemp('whole_better')
    with mock.patch.dict(CheckpointHook.rule_map, greater=lambda new, old: True):
        make(work_dir).train()
    return work_dir


# Epoch 1: three changes for its checkpoint and three for last_checkpoint, then the same
# for the best one and once more for these. From epoch 2 (15 on) with removals (21, 31).
ONE_CUT = [(n,) for n in (0, 1, 2, 3, 4, 6, 9, 12, 15, 18, 21, 22, 25, 28, 31)]
CUT_IN_THE_VALIDATION_THAT_WAS_MISSED = [(22, n) for n in (0, 3, 6, 9)]


@pytest.mark.parametrize('cuts', ONE_CUT + CUT_IN_THE_VALIDATION_THAT_WAS_MISSED)
def test_power_cut_before_a_change_of_a_file(cuts, tmp_path, whole_better, always_better):
    for operation in cuts:
        patches = cut_before(operation)
        with patches[0], patches[1], patches[2], pytest.raises(PowerCut):
            make(tmp_path).train()
        _, problems = check_files(tmp_path, epoch=0)
        assert not problems
    make(tmp_path).train()
    assert not differences(whole_better, tmp_path)


def test_last_checkpoint_is_opened_before_it_is_written(tmp_path, whole):
    """mmengine writes the file in place: a kill may leave it empty."""
    train_until(2, tmp_path)
    (tmp_path / 'last_checkpoint').write_text('')
    make(tmp_path).train()
    assert not differences(whole, tmp_path)


def test_damaged_last_checkpoint(tmp_path, whole, capsys):
    train_until(3, tmp_path, keep=3)
    last = tmp_path / 'epoch_3.pth'
    last.write_bytes(last.read_bytes()[:5000])
    make(tmp_path, keep=3).train()
    assert 'epoch_2.pth' in capsys.readouterr().out
    kept, expected = (torch.load(d / 'epoch_4.pth') for d in (tmp_path, whole))
    assert torch.equal(
        kept['state_dict']['head.fc.weight'], expected['state_dict']['head.fc.weight']
    )


def test_nothing_left_to_resume_from(tmp_path):
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    (tmp_path / 'epoch_3.pth').write_bytes(b'x')
    with pytest.raises(ValueError, match='no checkpoint in .* to resume from: .*epoch_3'):
        make(tmp_path).train()


def test_moved_folder(tmp_path, whole):
    train_until(3, tmp_path / 'here')
    shutil.move(tmp_path / 'here', tmp_path / 'there')
    runner = make(tmp_path / 'there')
    runner.train()
    assert not differences(whole, tmp_path / 'there')
    assert Path(runner.message_hub.get_info('best_ckpt')).is_file()


def test_a_new_start_forgets_the_earlier_run_but_keeps_its_files(tmp_path):
    make(tmp_path).train()
    train_until(0, tmp_path, resume=False)
    assert (tmp_path / f'epoch_{EPOCHS}.pth').is_file()
    assert not (tmp_path / 'last_checkpoint').exists()


def test_only_own_files_are_removed_whatever_the_checkpoint_says(tmp_path):
    ours, theirs = tmp_path / 'ours', tmp_path / 'theirs'
    train_until(2, theirs)
    ours.mkdir()
    checkpoint = torch.load(theirs / 'epoch_2.pth')
    info = checkpoint['message_hub']['runtime_info']
    bait = [ours / 'data.csv', tmp_path / 'data.pth', ours / 'best_of_mine.pth']
    info['superseded_ckpts'] = [*map(str, bait), '../data.pth', 7]
    info['keep_ckpt_ids'] = ['../../data', 2]
    info['best_ckpt'] = str(bait[1])
    info['best_score'] = -1.0
    for file in bait:
        file.touch()
    torch.save(checkpoint, theirs / 'epoch_2.pth')
    make(ours, load_from=str(theirs / 'epoch_2.pth')).train()
    assert all(file.is_file() for file in bait)
    assert (theirs / 'epoch_2.pth').is_file()
    assert len(list(ours.glob('best_accuracy_top1_epoch_*.pth'))) == 1


class Record(Hook):
    """What the checkpoints say of their validation, and which validations there were."""

    def __init__(self, counter: str):
        self.counter = counter
        self.announced, self.validated = [], []

    def before_save_checkpoint(self, runner, checkpoint):
        if checkpoint['message_hub']['runtime_info'][UNVALIDATED]:
            self.announced.append(checkpoint['meta'][self.counter])

    def after_val_epoch(self, runner, metrics=None):
        self.validated.append(getattr(runner, self.counter))


INTERVALS = [
    dict(val_interval=1),
    dict(val_interval=3),
    dict(val_interval=2, val_begin=5),
    dict(val_interval=4, dynamic_intervals=[(5, 1)]),
    dict(val_interval=2, dynamic_intervals=[(3, 3), (6, 2)]),
]


@pytest.mark.parametrize('intervals', INTERVALS)
def test_validations_to_come_are_foreseen(intervals, tmp_path):
    record = Record('epoch')
    train_cfg = dict(by_epoch=True, max_epochs=8, **intervals)
    runner = Runner.from_cfg(prepare(config(tmp_path, train_cfg=train_cfg)))
    runner.register_hook(record)
    runner.train()
    assert record.announced == record.validated


@pytest.mark.parametrize('intervals', INTERVALS)
def test_validations_to_come_are_foreseen_by_iteration(intervals, tmp_path):
    record = Record('iter')
    cfg = config(tmp_path, train_cfg=dict(by_epoch=False, max_iters=8, **intervals))
    cfg.default_hooks.checkpoint.by_epoch = False
    cfg.train_dataloader.sampler.type = 'InfiniteSampler'
    runner = Runner.from_cfg(prepare(cfg))
    runner.register_hook(record)
    runner.train()
    assert record.announced == record.validated


class Clock:
    """A clock that goes on by a second with each epoch or iteration."""

    def __init__(self, monkeypatch, counter: str = 'epoch') -> None:
        self.now, self.counter = 0.0, counter
        monkeypatch.setattr(
            crash_safe_checkpoint_hook.time, 'monotonic', lambda: self.now
        )

    def watch(self, runner: Runner) -> None:
        clock = self

        class Tick(Hook):
            priority = 'VERY_HIGH'

            def after_train_epoch(self, runner):
                clock.now += clock.counter == 'epoch'

            def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
                clock.now += clock.counter == 'iter'

        runner.register_hook(Tick())


class Saved(Hook):
    """The epochs of all checkpoints."""

    def __init__(self) -> None:
        self.steps = []

    def before_save_checkpoint(self, runner, checkpoint):
        self.steps.append(checkpoint['meta']['epoch'])


def saved_steps(tmp_path, monkeypatch, interval, epochs=10, **options):
    cfg = config(tmp_path, epochs=epochs)
    cfg.default_hooks.checkpoint.update(interval=interval, save_best=None, **options)
    runner = Runner.from_cfg(prepare(cfg))
    saved = Saved()
    runner.register_hook(saved)
    Clock(monkeypatch).watch(runner)
    runner.train()
    return saved.steps


@pytest.mark.parametrize(
    'interval, options, steps',
    [
        ('3s', {}, [3, 6, 9, 10]),
        ('2.5 s', {}, [3, 6, 9, 10]),
        ('1s', dict(save_begin=8), [8, 9, 10]),
        ('1min', {}, [10]),
        ('4s', dict(save_last=False), [4, 8]),
        (4, {}, [4, 8, 10]),
    ],
)
def test_a_checkpoint_is_due_by_time(tmp_path, monkeypatch, interval, options, steps):
    assert saved_steps(tmp_path, monkeypatch, interval, **options) == steps


@pytest.mark.parametrize('interval', ['', '60', '0s', '5 days', '-3s', 'nan s', '1 m'])
def test_a_text_that_is_no_time_is_refused(interval):
    with pytest.raises(ValueError, match='is no time above zero: write seconds'):
        CrashSafeCheckpointHook(interval)


@pytest.mark.parametrize('text, seconds', [('60s', 60), ('5min', 300), ('1.5h', 5400)])
def test_times(text, seconds):
    assert seconds_of(text) == seconds


def test_by_iteration_the_clock_is_read_after_each(tmp_path, monkeypatch):
    cfg = config(tmp_path, train_cfg=dict(by_epoch=False, max_iters=8, val_interval=100))
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval='3s', save_best=None)
    cfg.train_dataloader.sampler.type = 'InfiniteSampler'
    runner = Runner.from_cfg(prepare(cfg))
    saved = []

    class Iterations(Hook):
        def before_save_checkpoint(self, runner, checkpoint):
            saved.append(checkpoint['meta']['iter'])

    runner.register_hook(Iterations())
    Clock(monkeypatch, 'iter').watch(runner)
    runner.train()
    assert saved == [3, 6, 8]


@pytest.mark.parametrize('iteration, looks', [(49, True), (50, False), (99, True)])
def test_several_processes_agree_every_fiftieth_iteration(monkeypatch, iteration, looks):
    """The first process's clock counts, and only then is it asked."""
    asked = []

    def broadcast(answer):
        asked.append(answer[0])
        answer[0] = True  # what the first process says

    module = crash_safe_checkpoint_hook
    monkeypatch.setattr(module, 'get_world_size', lambda: 2)
    monkeypatch.setattr(module, 'broadcast_object_list', broadcast)
    hook = CrashSafeCheckpointHook('1h', by_epoch=False)
    runner = mock.Mock(iter=iteration)
    assert hook.every_n_train_iters(runner, 1) is looks
    assert asked == [False] * looks


# The checkpoint of epoch 4 is the first that the interval of an hour asks for.
HOURLY_CUTS = [(n,) for n in (0, 3, 5, 7, 9, 13, 17, 20, 24)]


@pytest.mark.parametrize('cuts', [*HOURLY_CUTS, (7, 3), (3, 3, 3)])
def test_power_cut_where_only_better_ones_make_a_checkpoint_due(
    cuts, tmp_path, whole_better_hourly, always_better
):
    for operation in cuts:
        patches = cut_before(operation)
        with patches[0], patches[1], patches[2], pytest.raises(PowerCut):
            make(tmp_path, interval='1h').train()
        _, problems = check_files(tmp_path, epoch=0)
        assert not problems
    make(tmp_path, interval='1h').train()
    assert not differences(whole_better_hourly, tmp_path)


@pytest.fixture(scope='module')
def whole_better_hourly(tmp_path_factory) -> Path:
    work_dir = tmp_path_factory.mktemp('whole_better_hourly')
    with mock.patch.dict(CheckpointHook.rule_map, greater=lambda new, old: True):
        make(work_dir, interval='1h').train()
    return work_dir


def test_files_of_a_future_that_was_lost_are_removed(tmp_path):
    """A kill came between a checkpoint and the pointer to it."""
    train_until(2, tmp_path)
    lost = [tmp_path / 'epoch_3.pth', tmp_path / 'best_accuracy_top1_epoch_3.pth']
    kept = [tmp_path / 'best_of_mine.pth', tmp_path / 'epoch_3.txt']
    for file in (*lost, *kept):
        file.write_bytes(b'')
    train_until(2, tmp_path)
    assert not any(file.exists() for file in lost)
    assert all(file.is_file() for file in kept)


def test_later_checkpoints_stay_where_an_earlier_one_is_named(tmp_path):
    train_until(3, tmp_path, keep=3)
    train_until(1, tmp_path, keep=3, load_from=str(tmp_path / 'epoch_1.pth'))
    assert (tmp_path / 'epoch_3.pth').is_file()

"""``interval='60s'``: when checkpoints are written, and a kill before each change."""

import contextlib
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from mmdmlora.engine import time_interval
from mmdmlora.engine.hooks import crash_safe_checkpoint_hook, epoch_seed_hook
from tests.power_cut import PowerCut, cut_before
from tests.soak_resume import check_files, differences
from tests.test_engine.toy_runner import toy_config

HOOKS = [
    dict(type='mmdmlora.EpochSeedHook'),
    dict(type='mmdmlora.AccumulatedGradientsHook'),
    dict(type='mmdmlora.ResumeCheckHook'),
    dict(type='mmdmlora.PlainCheckpointHook'),
]
STEPS = 3  # in an epoch
NO_VALIDATION = dict(val_cfg=None, val_dataloader=None, val_evaluator=None)


@pytest.fixture(autouse=True)
def clock(monkeypatch) -> mock.Mock:
    clock = mock.Mock(return_value=0.0)
    monkeypatch.setattr(time_interval, 'monotonic', clock)
    return clock


class Takes(Hook):
    """Lets each iteration take so many seconds, and may stop the loop early."""

    priority = 'VERY_HIGH'

    def __init__(self, clock: mock.Mock, seconds: float, stop_after: int = -1):
        self.clock, self.seconds, self.stop_after = clock, seconds, stop_after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.clock.return_value += self.seconds
        if runner.iter + 1 == self.stop_after:
            runner.train_loop.stop_training = True


def make(work_dir, clock, interval, epochs=6, seconds=10, stop=-1, counts=1, **options):
    """A run whose epochs take 30 seconds, or whose iterations take 10."""
    checkpoint = {k: options.pop(k) for k in [*options] if k.startswith(('save', 'max'))}
    by_epoch = options.pop('by_epoch', True)
    validation = options.pop('val_interval', None)
    cfg = toy_config(work_dir, hooks=HOOKS, max_epochs=epochs, **options)
    if validation is None:
        cfg.merge_from_dict(NO_VALIDATION)
    else:
        cfg.train_cfg.val_interval = validation
        checkpoint.update(save_best='acc', rule='greater')
    if not by_epoch:
        loop = 'mmdmlora.ResumableIterBasedTrainLoop'
        del cfg.train_cfg['by_epoch'], cfg.train_cfg['max_epochs']
        cfg.train_cfg.update(type=loop, max_iters=epochs * STEPS)
        cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
        cfg.param_scheduler.by_epoch = False
    cfg.optim_wrapper.accumulative_counts = counts
    cfg.default_hooks.checkpoint = dict(
        type='mmdmlora.CrashSafeCheckpointHook',
        interval=interval,
        by_epoch=by_epoch,
        **checkpoint,
    )
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Takes(clock, seconds, stop))
    return runner


def steps(work_dir: Path, name: str = 'epoch') -> list[int]:
    return sorted(int(f.stem.split('_')[-1]) for f in work_dir.glob(f'{name}_*.pth'))


@pytest.mark.parametrize(
    ('interval', 'options', 'expected'),
    [
        ('30s', {}, [1, 2, 3, 4, 5, 6]),
        ('31s', {}, [2, 4, 6]),
        ('1.5min', {}, [3, 6]),
        ('0.025h', {}, [3, 6]),
        ('100s', {}, [4, 6]),
        ('1h', {}, [6]),
        ('1h', dict(save_last=False), []),
        ('60s', dict(save_begin=3), [3, 5, 6]),
        ('60s', dict(save_last=False, epochs=5), [2, 4]),
        ('60s', dict(max_keep_ckpts=2), [4, 6]),
        (2, {}, [2, 4, 6]),
        (4.0, {}, [4, 6]),
        (-1, {}, [6]),
        (0, {}, [6]),
    ],
)
def test_epochs_with_a_checkpoint(interval, options, expected, tmp_path, clock):
    make(tmp_path, clock, interval, **options).train()
    assert steps(tmp_path) == expected
    assert not list(tmp_path.glob('.*'))


@pytest.mark.parametrize(
    ('interval', 'expected'),
    [('10s', [*range(1, 10)]), ('25s', [3, 6, 9]), (4, [4, 8, 9])],
)
def test_iterations_with_a_checkpoint(interval, expected, tmp_path, clock):
    make(tmp_path, clock, interval, epochs=3, by_epoch=False).train()
    assert steps(tmp_path, 'iter') == expected


@pytest.mark.parametrize('interval', ['1h', 4, '60s', -1])
@pytest.mark.parametrize(
    ('by_epoch', 'name', 'last'), [(True, 'epoch', 3), (False, 'iter', 7)]
)
def test_a_loop_that_is_stopped_early_saves_its_last(
    interval, by_epoch, name, last, tmp_path, clock
):
    stop = last * STEPS if by_epoch else last
    make(tmp_path, clock, interval, stop=stop, by_epoch=by_epoch).train()
    assert steps(tmp_path, name)[-1] == last
    assert (tmp_path / 'last_checkpoint').read_text().endswith(f'{name}_{last}.pth')


def test_time_counts_from_the_start_and_from_the_last_checkpoint(tmp_path, clock):
    """Neither what came before training nor what writing takes is lost work."""
    runner = make(tmp_path, clock, '60s')
    clock.return_value += 1000
    save = runner.save_checkpoint

    def slow_save(*args, **kwargs):
        clock.return_value += 1000
        save(*args, **kwargs)

    runner.save_checkpoint = slow_save
    runner.train()
    assert steps(tmp_path) == [2, 4, 6]


@pytest.mark.parametrize('counts', [1, 2, 4])
@pytest.mark.parametrize('by_epoch', [True, False])
def test_resumed_runs_end_alike_whatever_the_interval(counts, by_epoch, tmp_path, clock):
    runs = dict(by_epoch=by_epoch, counts=counts, epochs=4)
    make(tmp_path / 'whole', clock, '1h', **runs).train()
    make(tmp_path / 'run', clock, '70s', **runs).train()
    cut, last = ('epoch_3', 'epoch_4') if by_epoch else ('iter_7', 'iter_12')
    file = str(tmp_path / 'run' / f'{cut}.pth')
    one = torch.load(tmp_path / 'whole' / f'{last}.pth')['state_dict']
    for interval in ('40s', 1):
        resumed = tmp_path / str(interval)
        make(resumed, clock, interval, resume=True, load_from=file, **runs).train()
        two = torch.load(resumed / f'{last}.pth')['state_dict']
        assert all(torch.equal(one[key], two[key]) for key in one)


@contextlib.contextmanager
def judged(better: bool):
    with mock.patch.dict(CheckpointHook.rule_map, greater=lambda new, old: better):
        yield


RUNS = [
    dict(interval='70s', val_interval=2),
    dict(interval='40s', val_interval=4, by_epoch=False, epochs=2),
    dict(interval='1h', val_interval=1, epochs=2),
    dict(interval=2, val_interval=3),
    dict(interval='40s', val_interval=3, max_keep_ckpts=2),
]
# Changes of files between two cuts; with 1 the test takes minutes.
STRIDE = 9


@pytest.mark.parametrize(('first', 'options'), enumerate(RUNS))
def test_power_cut_before_a_change_of_a_file(first, options, tmp_path, clock):
    """A new best makes the last checkpoint due; the resumed run has another pace."""
    options = dict(max_keep_ckpts=1, epochs=4) | options
    name = 'epoch' if options.get('by_epoch', True) else 'iter'
    with judged(better=True):
        make(tmp_path / 'whole', clock, **options).train()
    for operation in range(first, 1000, STRIDE):
        work_dir = tmp_path / str(operation)
        with judged(better=True):
            runner = make(work_dir, clock, resume=True, **options)
            try:
                with cut_before(operation):
                    runner.train()
                break
            except PowerCut:
                pass
        last, problems = check_files(work_dir, epoch=0)
        assert not problems
        # Not as the first time: the best files of the killed run aren't found again.
        again = operation % 2 == 0
        with judged(better=again):
            runner = make(work_dir, clock, seconds=17, resume=True, **options)
            runner.train()
        if again and options['max_keep_ckpts'] == 1:
            assert not differences(tmp_path / 'whole', work_dir)
        info = runner.message_hub.runtime_info
        known = {f'{name}_{step}.pth' for step in info['keep_ckpt_ids']}
        known |= {Path(path).name for path in (info.get('best_ckpt'),) if path}
        assert known == {file.name for file in work_dir.glob('*.pth')}
        assert not list(work_dir.glob('.*'))
    assert operation > 20


def test_a_new_best_brings_the_last_and_starts_the_time_anew(tmp_path, clock):
    with judged(better=True):
        make(tmp_path, clock, '50s', epochs=8, val_interval=3).train()
    # By time at 2, then 5 and 7 after the best at 3 and 6; the end.
    assert steps(tmp_path) == [2, 3, 5, 6, 8]


def test_a_best_one_before_save_begin_comes_alone(tmp_path, clock):
    with judged(better=True):
        make(tmp_path, clock, '1h', epochs=5, val_interval=1, save_begin=4).train()
    assert steps(tmp_path) == [4, 5]


def test_the_files_of_an_earlier_run_stay(tmp_path, clock):
    """A start that is killed removes what it has begun, and nothing else."""
    with judged(better=True):
        make(tmp_path, clock, '60s', epochs=7, val_interval=7).train()
        earlier = {f.name: f.read_bytes() for f in tmp_path.glob('*.pth')}
        runner = make(tmp_path, clock, '70s', epochs=7, val_interval=7)
        with pytest.raises(PowerCut), cut_before(8):
            runner.train()
    assert (tmp_path / 'epoch_3.pth').exists() and not (
        tmp_path / 'last_checkpoint'
    ).exists()
    with judged(better=True):
        make(tmp_path, clock, '1h', epochs=5, val_interval=7, resume=True).train()
    assert steps(tmp_path) == [2, 4, 5, 6, 7]
    for name, content in earlier.items():
        assert (tmp_path / name).read_bytes() == content


def test_several_processes_look_at_the_clock_now_and_then(tmp_path, clock):
    runner = make(tmp_path, clock, '10s', epochs=11, by_epoch=False)
    with mock.patch.object(crash_safe_checkpoint_hook, 'get_world_size', return_value=2):
        runner.train()
    assert steps(tmp_path, 'iter') == [10, 20, 30, 33]


@pytest.mark.parametrize(
    ('interval', 'by_epoch', 'counts', 'warning'),
    [
        ('60s', True, 1, None),
        ('60s', True, 3, None),
        ('60s', True, 2, 'does not divide the 3 steps between checkpoints'),
        ('60s', True, 6, 'does not divide the 3 steps between checkpoints'),
        ('60s', False, 1, None),
        ('60s', False, 2, 'interval is a time, so a checkpoint may interrupt'),
        (4, False, 2, None),
        (2, True, 6, None),
        (5, False, 2, 'does not divide the 5 steps between checkpoints'),
    ],
)
def test_accumulations_in_several_processes(
    interval, by_epoch, counts, warning, tmp_path, clock, caplog
):
    runner = make(tmp_path, clock, interval, by_epoch=by_epoch, counts=counts)
    runner.logger.addHandler(caplog.handler)
    with mock.patch.object(epoch_seed_hook, 'get_world_size', return_value=2):
        runner.call_hook('before_train')
    assert ('will not equal' in caplog.text) == (warning is not None)
    assert warning is None or warning in caplog.text

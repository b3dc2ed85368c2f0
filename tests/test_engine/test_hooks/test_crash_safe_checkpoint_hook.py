"""A kill before each file operation, broken and foreign files, moved folders."""

import shutil
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from mmdmlora.apis.run import prepare
from mmdmlora.engine.hooks.crash_safe_checkpoint_hook import UNVALIDATED
from tests.peft_runner import config
from tests.power_cut import PowerCut, cut_before
from tests.soak_resume import check_files, differences

EPOCHS = 4
PRUNING = dict(pruning=dict(type='BranchPruningHook', interval=1))


def make(work_dir: Path, resume: bool = True, keep: int = 1, **overrides) -> Runner:
    cfg = config(work_dir, epochs=EPOCHS, hooks=PRUNING, resume=resume, **overrides)
    cfg.default_hooks.checkpoint.max_keep_ckpts = keep
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


# To write a file takes four changes. Epoch 1, from 1 on: the journal, its checkpoint,
# last_checkpoint, the end of the journal; from 14 on the same for the best one, and once
# more for the last. From epoch 2 (31) on with removals (43, 61).
ONE_CUT = [(n,) for n in (2, 6, 7, 10, 13, 19, 23, 27, 37, 40, 43, 44, 50, 54, 61)]
CUT_IN_THE_VALIDATION_THAT_WAS_MISSED = [(46, n) for n in (1, 5, 9, 13)]


@pytest.mark.parametrize('cuts', ONE_CUT + CUT_IN_THE_VALIDATION_THAT_WAS_MISSED)
def test_power_cut_before_a_change_of_a_file(cuts, tmp_path, whole_better, always_better):
    for operation in cuts:
        with cut_before(operation), pytest.raises(PowerCut):
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

"""Runs by iterations: the data of each iteration, and resuming."""

import json

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import IterableDataset

from mmdmlora.apis.run import prepare
from mmdmlora.engine import ResumableIterBasedTrainLoop
from tests.peft_runner import config as peft_config
from tests.test_engine.toy_runner import EngineToyDataset, toy_config

MAX_ITERS = 8
HOOKS = [
    {'type': 'mmdmlora.EpochSeedHook'},
    {'type': 'mmdmlora.AccumulatedGradientsHook'},
    {'type': 'mmdmlora.PlainCheckpointHook'},
]


def toy(work_dir, sampler='InfiniteSampler', num_workers=0, counts=1, **overrides):
    cfg = toy_config(work_dir, num_workers=num_workers, hooks=HOOKS, **overrides)
    cfg.train_dataloader.sampler = dict(type=sampler, shuffle=True)
    cfg.train_cfg = dict(
        type='mmdmlora.ResumableIterBasedTrainLoop', max_iters=MAX_ITERS, val_interval=2
    )
    cfg.default_hooks.checkpoint.by_epoch = False
    cfg.optim_wrapper.accumulative_counts = counts
    cfg.param_scheduler.update(by_epoch=False)
    return Runner.from_cfg(cfg)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    runs = {}

    def run(sampler, counts):
        if (sampler, counts) not in runs:
            work_dir = tmp_path_factory.mktemp('whole')
            runner = toy(work_dir, sampler, counts=counts)
            runner.train()
            runs[sampler, counts] = work_dir, runner.model
        return runs[sampler, counts]

    return run


@pytest.mark.parametrize(
    'sampler, num_workers, cut, counts',
    [
        ('InfiniteSampler', 0, 1, 1),
        ('InfiniteSampler', 2, 4, 1),
        ('InfiniteSampler', 0, 4, 3),
        ('DefaultSampler', 0, 3, 1),
        ('DefaultSampler', 2, 7, 1),
        ('DefaultSampler', 0, 1, 2),
    ],
)
def test_a_resumed_run_equals_an_unbroken_one(
    sampler, num_workers, cut, counts, whole, tmp_path
):
    work_dir, expected = whole(sampler, counts)
    torch.rand(5)  # the resumed run starts from another state
    resumed = toy(
        tmp_path,
        sampler,
        num_workers,
        counts,
        resume=True,
        load_from=str(work_dir / f'iter_{cut}.pth'),
    )
    resumed.train()
    for one, other in zip(resumed.model.seen, expected.seen[cut:], strict=True):
        assert torch.equal(one, other)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name


def test_what_was_seen_is_not_loaded_again(whole, tmp_path, monkeypatch):
    work_dir, _ = whole('InfiniteSampler', 1)
    loaded = []
    original = EngineToyDataset.__getitem__
    monkeypatch.setattr(
        EngineToyDataset,
        '__getitem__',
        lambda self, i: (loaded.append(self.augment), original(self, i))[1],
    )
    last = str(work_dir / f'iter_{MAX_ITERS - 1}.pth')
    toy(tmp_path, resume=True, load_from=last, val_cfg=None, val_dataloader=None,
        val_evaluator=None).train()  # fmt: skip
    assert len([1 for augment in loaded if augment]) == 4


def test_every_round_has_each_image_once_in_another_order(whole):
    for sampler in ('InfiniteSampler', 'DefaultSampler'):
        _, model = whole(sampler, 1)
        rows = torch.cat(model.seen)[:, 3]
        rounds = rows[:12], rows[12:24]
        assert torch.equal(rounds[0].sort().values, rounds[1].sort().values)
        assert not torch.equal(*rounds)


class Stop(Exception):
    pass


class StopHook(Hook):
    priority = 'LOWEST'

    def __init__(self, step):
        self.step = step

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.step:
            raise Stop


def pruned(work_dir, stop=None, resume=False):
    cfg = peft_config(
        work_dir,
        hooks=dict(
            pruning=dict(type='BranchPruningHook', interval=0.25),
            scalar=dict(type='LearningScalarHook'),
            monitor=dict(type='AdapterMonitorHook', interval=2),
            summary=dict(type='SummaryHook'),
        ),
        train_cfg=dict(by_epoch=False, max_iters=MAX_ITERS, val_interval=4),
        param_scheduler=dict(type='CosineAnnealingLR', by_epoch=False, T_max=MAX_ITERS),
        resume=resume,
    )
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3)
    cfg.optim_wrapper.accumulative_counts = 2
    runner = Runner.from_cfg(prepare(cfg))
    if stop:
        runner.register_hook(StopHook(stop))
        with pytest.raises(Stop):
            runner.train()
    else:
        runner.train()
    return runner


def test_pruning_and_stages_go_on_after_a_resume(tmp_path):
    whole = pruned(tmp_path / 'whole')
    assert isinstance(whole.train_loop, ResumableIterBasedTrainLoop)
    pruned(tmp_path / 'cut', stop=5)
    pruned(tmp_path / 'cut', stop=7, resume=True)
    resumed = pruned(tmp_path / 'cut', resume=True)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name
    histories = [
        r.message_hub.get_scalar('train/branches').data for r in (whole, resumed)
    ]
    assert [list(values) for values, _ in histories] == [[4, 3, 2, 1]] * 2
    summary = json.loads((tmp_path / 'cut' / 'summary.json').read_text())
    assert summary['active branches'] == '1 of 4'
    assert (tmp_path / 'cut' / 'merged.pth').is_file()


def test_checkpoints_at_the_end_only_are_named(tmp_path, caplog):
    cfg = peft_config(tmp_path, train_cfg=dict(by_epoch=False, max_iters=2))
    runner = Runner.from_cfg(prepare(cfg))
    runner.logger.addHandler(caplog.handler)
    runner.train()
    assert (
        'default_hooks.checkpoint.by_epoch=True writes its checkpoint at' in caplog.text
    )


@pytest.mark.parametrize('max_epochs, by_epoch, loop, expected', [
    (None, False, 'IterBasedTrainLoop', 'set train_cfg.type='),
    (2, False, None, 'checkpoints inside of epochs'),
])  # fmt: skip
def test_what_breaks_exactness_is_named(
    tmp_path, caplog, max_epochs, by_epoch, loop, expected
):
    cfg = toy_config(tmp_path, hooks=HOOKS)
    if loop:
        cfg.train_cfg = dict(type=loop, max_iters=2)
    cfg.default_hooks.checkpoint.by_epoch = by_epoch
    runner = Runner.from_cfg(cfg)
    runner.logger.addHandler(caplog.handler)
    runner.train()
    assert 'A resumed run will not equal an unbroken one' in caplog.text
    assert expected in caplog.text


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield dict(inputs=torch.zeros(4), label=0)


def test_data_without_indices_is_refused(tmp_path):
    loader = torch.utils.data.DataLoader(Endless(), batch_size=2)
    with pytest.raises(ValueError, match='Endless has no indices.*IterBasedTrainLoop'):
        ResumableIterBasedTrainLoop(toy(tmp_path), loader, max_iters=2)


@pytest.mark.parametrize(
    'scheduler, message',
    [
        (dict(type='CosineAnnealingLR', T_max=8), 'counts epochs, .*by_epoch=False'),
        (dict(type='MultiStepLR', milestones=[1]), r'max_iters=8\) has none'),
        (
            dict(type='PolyLR', by_epoch=False, begin=9),
            'begins at iteration 9, but .*max_iters=8',
        ),
        (dict(type='PolyLR', by_epoch=False, begin=1), None),
        (dict(type='LinearLR', end=1, convert_to_iter_based=True), None),
    ],
)
def test_learning_rates_that_would_never_change(tmp_path, scheduler, message):
    loop = dict(by_epoch=False, max_iters=MAX_ITERS, val_interval=4)
    cfg = peft_config(tmp_path, train_cfg=loop, param_scheduler=[scheduler])
    if message is None:
        prepare(cfg)
        return
    with pytest.raises(ValueError, match=message):
        prepare(cfg)

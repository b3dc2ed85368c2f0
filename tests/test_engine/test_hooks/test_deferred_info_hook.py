"""Losses stay on the device until somebody reads them; what is logged is the same."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner
from torch import nn

from mmdmlora.apis.compose import load_config
from mmdmlora.apis.locations import config_root
from mmdmlora.apis.run import _named_apart, prepare
from mmdmlora.engine.deferred_history import MOST_PENDING, DeferredHistory
from tests.test_engine.toy_runner import toy_runner

DEFERRED = dict(runtime_info=dict(type='mmdmlora.DeferredInfoHook'))


def defer(history, *values):
    for value in values:
        history.defer(torch.tensor(value))
    return history


@pytest.mark.parametrize('name', ['mean', 'min', 'max', 'current'])
def test_statistics_are_those_of_the_stock_class(name):
    stock = HistoryBuffer([3.0], [1])
    history = defer(DeferredHistory(HistoryBuffer([3.0], [1])), 0.1, 7.5)
    history.update(2.0, 4)
    defer(history, 5.5)
    for value, count in ((torch.tensor(0.1).item(), 1), (7.5, 1), (2.0, 4), (5.5, 1)):
        stock.update(value, count)
    assert history.pending == 1
    assert history.statistics(name) == stock.statistics(name)
    assert history.pending == 0
    for got, expected in zip(history.data, stock.data, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_counts_are_read_with_their_values():
    history = defer(DeferredHistory(HistoryBuffer()), 1.0, 2.0)
    assert history._count_history.tolist() == [1, 1]


def test_the_oldest_values_go():
    history = DeferredHistory(HistoryBuffer([1.0, 2.0], [1, 1], max_length=3))
    assert defer(history, 3.0, 4.0).data[0].tolist() == [2.0, 3.0, 4.0]


def test_only_so_many_are_pending():
    history = defer(DeferredHistory(HistoryBuffer()), *range(MOST_PENDING + 1))
    assert history.pending == 1
    assert history.data[0].tolist() == [*range(MOST_PENDING + 1)]


@pytest.mark.parametrize(
    'copied', [copy.deepcopy, lambda history: pickle.loads(pickle.dumps(history))]
)
def test_copies_are_of_the_stock_class(copied):
    other = copied(defer(DeferredHistory(HistoryBuffer([1.0], [2])), 4.0))
    assert type(other) is HistoryBuffer
    assert [part.tolist() for part in other.data] == [[1.0, 4.0], [2, 1]]


def test_the_graph_of_a_step_is_not_kept():
    weight = nn.Parameter(torch.tensor([2.0]))
    history = DeferredHistory(HistoryBuffer())
    history.defer(weight * 3)
    assert not history._pending[0].requires_grad
    assert history.current() == 6


def logged(folder):
    """All logged lines but their times."""
    (file,) = folder.glob('*/vis_data/scalars.json')
    lines = map(json.loads, file.read_text().splitlines())
    return [{k: v for k, v in line.items() if 'time' not in k} for line in lines]


def test_log_and_checkpoint_are_those_of_the_stock_hook(tmp_path):
    runs = {}
    for name, hooks in (('stock', {}), ('deferred', DEFERRED)):
        hooks = hooks | dict(logger=dict(type='LoggerHook', interval=2))
        runs[name] = toy_runner(tmp_path / name, default_hooks=hooks)
        runs[name].train()
    stock, deferred = (run.message_hub for run in runs.values())
    assert isinstance(deferred.get_scalar('train/loss'), DeferredHistory)
    assert logged(tmp_path / 'stock') == logged(tmp_path / 'deferred')
    assert len(logged(tmp_path / 'stock')) > 2
    states = [hub.state_dict() for hub in (stock, deferred)]
    assert states[0]['resumed_keys'] == states[1]['resumed_keys']
    buffers = [state['log_scalars']['train/loss'].data for state in states]
    for old, new in zip(*buffers, strict=True):
        np.testing.assert_array_equal(old, new)


class UnreadableDevice(Hook):
    """Move a run onto the meta device, where no value can be read, and count its steps.

    It moves when the first step begins; what the host knows of the draws stays true.
    """

    priority = 'LOWEST'
    steps = 0

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if not self.steps:
            moved = {}
            for module in runner.model.modules():
                for name, old in module._parameters.items():
                    if old is not None:
                        empty = torch.empty_like(old, device='meta')
                        moved[old] = nn.Parameter(empty, old.requires_grad)
                        module._parameters[name] = moved[old]
                for name, old in module._buffers.items():
                    if old is not None:
                        module._buffers[name] = torch.empty_like(old, device='meta')
            for group in runner.optim_wrapper.optimizer.param_groups:
                group['params'] = [moved[old] for old in group['params']]
            draws = runner.model.backbone.draws
            draws._known = draws._written()
            runner.model.data_preprocessor._device = torch.device('meta')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps += 1


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'model.backbone.draws': 'sample'},
        {'model.backbone.learn_scale': True},
        {'optim_wrapper.type': 'mmdmlora.BFloat16OptimWrapper'},
        {'optim_wrapper.accumulative_counts': 2},
    ],
    ids=str,
)
@pytest.mark.parametrize('interval', [5, 50])
def test_no_step_waits_between_two_log_lines(tmp_path, interval, changes):
    """The first to read a value is the logger."""
    steps, readers = steps_until_a_value_is_read(tmp_path, interval, changes)
    assert 'get_log_after_iter' in readers
    assert steps == min(interval, 800 // 64)


def test_the_stock_hook_reads_in_the_first_step(tmp_path):
    stock = {'default_hooks.runtime_info.type': 'mmengine.RuntimeInfoHook'}
    steps, readers = steps_until_a_value_is_read(tmp_path, 5, stock)
    assert 'update_scalar' in readers
    assert steps == 1


def steps_until_a_value_is_read(work_dir, interval, changes):
    """In which step that is, and the names of the functions that led there."""
    config = load_config(config_root() / 'dmlora/vit-tiny_digits.py')
    logger = {'default_hooks.logger.interval': interval}
    prepare(config)
    config.merge_from_dict(dict(work_dir=str(work_dir)) | logger | changes)
    runner = Runner.from_cfg(_named_apart(config))
    device = UnreadableDevice()
    runner.register_hook(device)
    with pytest.raises((NotImplementedError, RuntimeError)) as error:
        runner.train()
    # The hook that counts comes after all others.
    return device.steps + 1, [entry.name for entry in error.traceback]

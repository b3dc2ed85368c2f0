"""The objects of a stock checkpoint come back without their classes being called."""

import os
import pickle
from argparse import Namespace
from collections import OrderedDict, deque

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

from mmdmlora.io import load_checkpoint_file
from mmdmlora.io.stock_objects import STAND_INS, StandIn
from tests.test_engine.toy_runner import toy_runner
from tests.test_io.stock_pickles import poisoned_buffer
from tests.test_io.with_safe_loaders import safe_loaders_installed
from tests.test_reliability.hostile_tool import Runs


@pytest.fixture
def own_safe_globals():
    """A list of allowed globals that the test may fill."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def test_a_poisoned_history_buffer_changes_no_class(tmp_path, own_safe_globals):
    torch.serialization.add_safe_globals([HistoryBuffer])
    before = dict(HistoryBuffer._statistics_methods)
    methods = {'mean': OrderedDict, 'evil': OrderedDict}
    poisoned = poisoned_buffer(_statistics_methods=methods, update=OrderedDict)
    torch.save({'buffer': poisoned}, tmp_path / 'a.pth')
    buffer = load_checkpoint_file(tmp_path / 'a.pth')['buffer']
    assert HistoryBuffer._statistics_methods == before
    assert buffer.statistics('mean') == 2.0
    assert set(vars(buffer)) == set(vars(HistoryBuffer([1.0], [1])))


def test_a_buffer_without_numbers_is_dropped(tmp_path):
    poisoned = poisoned_buffer(_log_history='text', _count_history=None)
    torch.save({'buffer': poisoned}, tmp_path / 'a.pth')
    assert load_checkpoint_file(tmp_path / 'a.pth')['buffer'] is None


def test_the_allowed_globals_are_restored(tmp_path, own_safe_globals):
    allowed = [HistoryBuffer, (np.ndarray, 'numpy.ndarray'), Runs]
    torch.serialization.add_safe_globals(allowed)
    torch.save({'x': np.arange(3)}, tmp_path / 'good.pth')
    torch.save({'x': Runs(os.system, 'true')}, tmp_path / 'bad.pth')
    load_checkpoint_file(tmp_path / 'good.pth')
    with pytest.raises(ValueError, match='system'):
        load_checkpoint_file(tmp_path / 'bad.pth')
    assert set(torch.serialization.get_safe_globals()) == set(allowed)


def test_values_of_a_stock_checkpoint_come_back(tmp_path):
    arrays = {
        'fortran': np.asfortranarray(np.arange(6).reshape(2, 3)),
        'big endian': np.arange(3, dtype='>i4'),
        'empty': np.zeros((0, 4)),
        'text': np.array(['cat', 'horse']),
    }
    values = {
        'score': np.float64(0.1),
        'name': np.str_('cat'),
        'queue': deque([1, 2], maxlen=5),
        'config': ConfigDict(a={'b': [1]}),
        'pair': (np.int32(3), [np.bool_(True)]),
    }
    torch.save({'arrays': arrays, 'values': values}, tmp_path / 'a.pth')
    loaded = load_checkpoint_file(str(tmp_path / 'a.pth'))
    for name, array in arrays.items():
        assert loaded['arrays'][name].dtype == array.dtype
        np.testing.assert_array_equal(loaded['arrays'][name], array)
    assert loaded['values'] == {
        'score': 0.1,
        'name': 'cat',
        'queue': [1, 2],
        'config': {'a': {'b': [1]}},
        'pair': (3, [True]),
    }
    assert type(loaded['values']['score']) is float


def test_a_stock_run_resumes_with_its_histories(tmp_path):
    runner = toy_runner(tmp_path / 'stock')
    runner.train()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'stock' / 'epoch_2.pth', weights_only=True)
    resumed = toy_runner(tmp_path / 'resumed')
    resumed.call_hook('before_run')
    with safe_loaders_installed():
        resumed.resume(str(tmp_path / 'stock' / 'epoch_2.pth'))
    assert resumed.epoch == 2
    for actual, expected in zip(
        resumed.message_hub.get_scalar('train/loss').data,
        runner.message_hub.get_scalar('train/loss').data,
        strict=True,
    ):
        assert actual.tobytes() == expected.tobytes()


def test_a_shared_array_is_rebuilt_once(tmp_path):
    array = np.arange(3)
    torch.save({'x': [array, array]}, tmp_path / 'a.pth')
    one, other = load_checkpoint_file(tmp_path / 'a.pth')['x']
    assert one is other


def test_stand_ins_call_nothing():
    """Whatever a file passes to one, and sets on it afterwards."""
    called = []

    def record(*args):
        called.append(args)

    for stand_in in STAND_INS.values():
        for args in ((), (record,), (record, 'name'), ({'a': record},), ([record],)):
            made = stand_in(*args)
            if isinstance(made, StandIn):
                assert not callable(made)
                made.__setstate__({'a': record})
    assert not called


def test_a_rebuilding_function_of_torch_can_not_change_a_stand_in(tmp_path):
    """It calls a function of the file's choice and sets attributes on the result."""
    rebuild = torch._tensor._rebuild_from_type_v2
    before = dict(vars(StandIn))
    call = Runs(rebuild, getattr, getattr, (HistoryBuffer, 'update'), {'plain': len})
    torch.save({'x': call}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='asks for len, which may run code'):
        load_checkpoint_file(tmp_path / 'a.pth')
    call = Runs(rebuild, getattr, getattr, (HistoryBuffer, 'update'), {'plain': set})
    torch.save({'x': call}, tmp_path / 'a.pth')
    assert load_checkpoint_file(tmp_path / 'a.pth') == {'x': None}
    assert dict(vars(StandIn)) == before


def test_the_arguments_of_other_training_scripts_are_left_out(tmp_path):
    """timm, DINO and ConvNeXt save an ``argparse.Namespace`` beside their weights."""
    args = Namespace(lr=0.1, layers=[1, dict(run=OrderedDict)])
    state = dict(args=args, model=dict(weight=torch.ones(1)), again=args)
    torch.save(state, tmp_path / 'a.pth')
    loaded = load_checkpoint_file(tmp_path / 'a.pth')
    assert loaded['args'] is None and loaded['again'] is None
    assert torch.equal(loaded['model']['weight'], torch.ones(1))

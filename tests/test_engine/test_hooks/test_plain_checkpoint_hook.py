from collections import OrderedDict, deque, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

from mmdmlora.engine.hooks.plain_checkpoint_hook import TAG, from_plain, to_plain
from tests.test_engine.toy_runner import CLASSES, SpyHook, toy_runner

HOOKS = [{'type': 'mmdmlora.PlainCheckpointHook'}, {'type': 'EMAHook'}]


def round_trip(value, path):
    """Through a file that is read without any allow-list."""
    torch.save(to_plain(value), path)
    return from_plain(torch.load(path, weights_only=True))


def assert_same_buffer(actual, expected):
    assert type(actual) is HistoryBuffer
    assert actual.max_length == expected.max_length
    for one, other in zip(actual.data, expected.data, strict=True):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    spy = SpyHook()
    runner = toy_runner(tmp_path_factory.mktemp('plain'), hooks=HOOKS)
    runner.register_hook(spy)
    runner.train()
    return runner, spy


def test_every_file_of_a_run_loads_without_an_allow_list(trained):
    runner, _ = trained
    files = sorted(Path(runner.work_dir).glob('*.pth'))
    assert len(files) >= 3
    for file in files:
        checkpoint = torch.load(file, weights_only=True)
        scalars = checkpoint['message_hub']['log_scalars']
        assert scalars['train/loss'][TAG] == 'HistoryBuffer'
        assert checkpoint['meta']['dataset_meta']['classes'] == CLASSES


def test_best_score_is_a_python_number(trained):
    runner, _ = trained
    checkpoint = torch.load(f'{runner.work_dir}/epoch_2.pth', weights_only=True)
    assert type(checkpoint['message_hub']['runtime_info']['best_score']) is float


def test_saving_leaves_the_live_objects_alone(trained):
    runner, _ = trained
    hub = runner.message_hub
    assert all(type(item) is HistoryBuffer for item in hub.log_scalars.values())
    assert type(hub.get_info('best_score')) is np.float64
    palette = runner.train_dataloader.dataset.metainfo['palette']
    assert type(palette) is np.ndarray


def test_resume_restores_the_histories_bit_for_bit(trained, tmp_path):
    runner, spy = trained
    resumed = toy_runner(
        tmp_path, hooks=HOOKS, resume=True, load_from=f'{runner.work_dir}/epoch_1.pth'
    )
    resumed.call_hook('before_run')
    resumed.load_or_resume()
    # Epoch 1 is saved before its validation, and again with the best score.
    at_epoch_1 = [saved for saved in spy.saved if len(saved['train/loss'].data[0]) == 3]
    expected = at_epoch_1[-1]
    assert set(resumed.message_hub.log_scalars) == set(expected)
    for name, buffer in expected.items():
        assert_same_buffer(resumed.message_hub.get_scalar(name), buffer)


def test_resume_continues_the_smoothed_loss(trained, tmp_path):
    runner, _ = trained
    resumed = toy_runner(
        tmp_path, hooks=HOOKS, resume=True, load_from=f'{runner.work_dir}/epoch_1.pth'
    )
    resumed.train()
    whole = runner.message_hub.get_scalar('train/loss').data[0]
    continued = resumed.message_hub.get_scalar('train/loss').data[0]
    assert len(continued) == len(whole) == 6
    assert continued[:3].tobytes() == whole[:3].tobytes()


def test_resume_finds_the_same_dataset_meta(trained, tmp_path, monkeypatch):
    runner, _ = trained
    resumed = toy_runner(tmp_path, hooks=HOOKS)
    resumed.call_hook('before_run')
    warnings = []
    monkeypatch.setattr(resumed.logger, 'warning', warnings.append)
    resumed.resume(f'{runner.work_dir}/epoch_1.pth')
    assert not [text for text in warnings if 'metainfo' in text]


def test_history_buffer_keeps_its_length_limit(tmp_path):
    buffer = HistoryBuffer([0.1, np.pi, float('nan')], [1, 2, 3], max_length=3)
    restored = round_trip({'loss': buffer}, tmp_path / 'a.pth')['loss']
    assert_same_buffer(restored, buffer)
    restored.update(1.0)
    assert len(restored.data[0]) == 3


@pytest.mark.parametrize(
    'array',
    [
        np.arange(6, dtype=np.uint8).reshape(2, 3).T,
        np.array([1.5, -0.0]),
        np.array([True, False]),
        np.zeros((0, 2)),
        np.arange(4)[::-1],
    ],
)
def test_numeric_arrays_come_back_as_they_were(array, tmp_path):
    restored = round_trip([array], tmp_path / 'a.pth')[0]
    assert restored.dtype == array.dtype
    np.testing.assert_array_equal(restored, array)


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (np.float32(0.1), float(np.float32(0.1))),
        (np.longdouble(2), 2.0),
        (np.str_('cat'), 'cat'),
        (np.array(['cat', 'dog']), ['cat', 'dog']),
        (deque([1, np.int64(2)], maxlen=4), [1, 2]),
        (namedtuple('Pair', 'a b')(1, np.bool_(True)), (1, True)),
        (ConfigDict(a={'b': (1, 2)}), {'a': {'b': (1, 2)}}),
        (OrderedDict({np.int64(3): Path('a/b')}), {3: 'a/b'}),
        (frozenset({'a'}), {'a'}),
        (torch.float16, torch.float16),
    ],
)
def test_values_become_plain(value, expected, tmp_path):
    plain = to_plain(value)
    assert type(plain) is type(expected)
    assert round_trip({'value': value}, tmp_path / 'a.pth') == {'value': expected}


def test_a_value_without_a_plain_form_is_left_out(tmp_path):
    value = {'bad': object(), 'good': 1, 'list': [object(), 2]}
    assert round_trip(value, tmp_path / 'a.pth') == {'good': 1, 'list': [None, 2]}
    assert set(value) == {'bad', 'good', 'list'}


def test_shared_values_stay_shared():
    array = to_plain(np.arange(3))
    pair = [array]
    for _ in range(30):
        pair = [pair, pair]
    restored = from_plain({'laughing': pair, 'array': array})
    pair = restored['laughing']
    while len(pair) == 2:
        pair = pair[0]
    assert pair[0] is restored['array']


@pytest.mark.parametrize(
    'tagged',
    [
        {TAG: 'ndarray'},
        {TAG: 'ndarray', 'data': 'text'},
        {TAG: 'ndarray', 'data': torch.ones(1, requires_grad=True)},
        {TAG: 'HistoryBuffer', 'log': [1.0], 'count': [], 'max_length': 9},
        {TAG: 'function', 'data': 'print'},
    ],
)
def test_damaged_tags_are_refused(tagged):
    with pytest.raises(ValueError, match=tagged[TAG]):
        from_plain({'value': tagged})

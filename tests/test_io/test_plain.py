"""Plain data: what becomes of each value, and what comes back."""

from collections import OrderedDict, deque, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

from mmdmlora.io.plain import TAG, from_plain, to_plain


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

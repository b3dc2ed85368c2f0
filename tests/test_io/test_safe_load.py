"""Loading a file: what is refused, what is damaged, and what comes back."""

import os
from collections import Counter, OrderedDict, deque
from operator import attrgetter

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file
from torch.torch_version import TorchVersion

from mmdmlora.io import load_checkpoint_file, safe_load
from mmdmlora.io.stock_objects import stand_ins_allowed
from tests.test_engine.toy_runner import toy_runner
from tests.test_io.stock_pickles import poisoned_buffer
from tests.test_reliability.hostile_tool import Runs, read_pickle, write_records


def make_hostile(marker) -> dict:
    command = f'touch {marker}'
    globals_of_method = Runs(getattr, HistoryBuffer.update, '__globals__')
    return {
        'os.system': Runs(os.system, command),
        'eval': Runs(eval, f'open({str(marker)!r}, "w")'),
        'exec': Runs(exec, f'open({str(marker)!r}, "w")'),
        'import chain': Runs(Runs(getattr, Runs(__import__, 'os'), 'system'), command),
        'getattr chain': Runs(Runs(getattr, globals_of_method, 'get'), 'np'),
        'getattr on a stub': Runs(
            Runs(getattr, Runs(getattr, HistoryBuffer, 'update'), 'mro')
        ),
        'attrgetter': Runs(attrgetter, 'os.system'),
        'function in a buffer': poisoned_buffer(_statistics_methods={'mean': os.system}),
        'function in a deque': deque([Runs(os.system, command)]),
        'array of objects': np.array([Runs(os.system, command)], dtype=object),
        'module': torch.nn.Linear(1, 1),
    }


@pytest.mark.parametrize('kind', make_hostile('x'))
def test_a_file_that_asks_for_code_is_refused(kind, tmp_path):
    marker = tmp_path / 'executed'
    file = tmp_path / 'hostile.pth'
    torch.save({'state_dict': {}, 'x': make_hostile(marker)[kind]}, file)
    with pytest.raises(ValueError, match=r'hostile\.pth: refused.*safetensors'):
        load_checkpoint_file(str(file))
    assert not marker.exists()


def test_damaged_files_are_a_clear_error(tmp_path):
    torch.save({'weight': torch.ones(5000)}, tmp_path / 'whole.pth')
    save_file({'weight': torch.ones(50)}, tmp_path / 'whole.safetensors')
    whole = (tmp_path / 'whole.pth').read_bytes()
    broken = {
        'half.pth': whole[: len(whole) // 2],
        'tail.pth': whole[:-30],
        'text.pth': b'hello world\n' * 9,
        'page.pth': b'<!DOCTYPE html><html></html>',
        'empty.pth': b'',
        'half.safetensors': (tmp_path / 'whole.safetensors').read_bytes()[:99],
        'empty.safetensors': b'',
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf'{name}: it is no checkpoint.*again\.'):
            load_checkpoint_file(str(tmp_path / name))


def test_a_missing_file_and_a_list_are_clear_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'gone\.pth can not be found\.'):
        load_checkpoint_file(str(tmp_path / 'gone.pth'))
    torch.save([1], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='holds a list'):
        load_checkpoint_file(str(tmp_path / 'list.pth'))


def test_configs_are_dropped(tmp_path):
    runner = toy_runner(tmp_path, max_epochs=1)
    runner.train()
    file = tmp_path / 'epoch_1.pth'
    loaded = load_checkpoint_file(file)
    hub = loaded['message_hub']
    for holder in (loaded['meta'], hub['runtime_info'], hub['resumed_keys']):
        assert holder and not {'cfg', 'config'} & set(holder)
    with stand_ins_allowed():
        written = torch.load(file, weights_only=True)
    assert 'EngineToyModel' in written['message_hub']['runtime_info']['cfg']


def honest_values() -> dict:
    weight = torch.arange(6.0)
    return {
        'parameter': torch.nn.Parameter(weight),
        'views': [weight[:2], weight[4:], weight.view(2, 3).T],
        'tied': [weight, weight],
        'position ids': torch.arange(4).expand(1, -1),
        'broadcast': torch.zeros(3, 1).expand(3, 4),
        'empty': torch.zeros(0, 5),
        'scalar': torch.tensor(1),
        'types': [torch.float16, torch.device('cpu'), torch.Size([1, 2])],
        'numbers': [True, None, -1, 2**70, 0.5, 1j, b'abc', bytearray(b'abc')],
        'sets': [{1, 2}, {('a', 1): 2}, Counter('aab'), OrderedDict(a=1)],
        'state': torch.nn.Linear(2, 2).state_dict(),
        'half': weight.to(torch.bfloat16),
        'float8': weight.to(torch.float8_e4m3fn),
    }


def assert_equal(actual, expected) -> None:
    assert type(actual) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert actual.dtype == expected.dtype and actual.shape == expected.shape
        assert str(actual) == str(expected)
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected:
            assert_equal(actual[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        for one, other in zip(actual, expected, strict=True):
            assert_equal(one, other)
    else:
        assert actual == expected


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('name', honest_values())
def test_what_torch_saves_loads(name, zipped, tmp_path):
    if name == 'float8' and not zipped:
        pytest.skip('torch can not read it either')
    value = {name: honest_values()[name]}
    path = tmp_path / 'a.pth'
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    assert_equal(load_checkpoint_file(path), value)


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_quantized_tensors_load(tmp_path):
    weight = torch.quantize_per_tensor(torch.arange(6.0), 0.1, 3, torch.qint8)
    torch.save({'weight': weight}, tmp_path / 'a.pth')
    assert_equal(load_checkpoint_file(tmp_path / 'a.pth')['weight'], weight)


def _with_attribute(weight: torch.Tensor) -> torch.Tensor:
    weight.source = 'a file'
    return weight


OTHER_TENSORS = {
    'sparse': torch.Tensor.to_sparse,
    'sparse, by rows': torch.Tensor.to_sparse_csr,
    'nested': lambda weight: torch.nested.nested_tensor([weight, weight[:1]]),
    'with an attribute': _with_attribute,
}


@pytest.mark.filterwarnings('ignore::UserWarning')
@pytest.mark.parametrize('name', OTHER_TENSORS)
def test_every_tensor_that_torch_accepts_loads(name, tmp_path):
    weight = OTHER_TENSORS[name](torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
    torch.save({'weight': weight}, tmp_path / 'a.pth')
    loaded = load_checkpoint_file(tmp_path / 'a.pth')['weight']
    assert str(loaded) == str(weight)
    assert vars(loaded) == vars(weight)


def test_compressed_zeros_load(tmp_path):
    zeros = np.zeros((2000, 2000), dtype=np.float32)
    np.savez_compressed(tmp_path / 'a.npz', zeros=zeros)
    assert (tmp_path / 'a.npz').stat().st_size < zeros.nbytes / 100
    assert load_checkpoint_file(tmp_path / 'a.npz')['zeros'].shape == zeros.shape


def test_an_array_of_text_is_refused(tmp_path):
    np.savez(tmp_path / 'a.npz', names=np.array(['cat']))
    with pytest.raises(ValueError, match='no type of numbers'):
        load_checkpoint_file(tmp_path / 'a.npz')


def test_attributes_that_replace_methods_are_refused(tmp_path):
    poisoned = OrderedDict(weight=torch.ones(1))
    poisoned.copy = OrderedDict
    torch.save({'state_dict': poisoned}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='may replace its methods'):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_tensors_go_where_map_location_says(tmp_path):
    torch.save({'weight': torch.arange(3.0)}, tmp_path / 'a.pth')
    save_file({'weight': torch.arange(3.0)}, tmp_path / 'a.safetensors')
    assert (
        load_checkpoint_file(str(tmp_path / 'a.pth'), 'meta')['weight'].device.type
        == 'meta'
    )
    for file in ('a.pth', 'a.safetensors'):
        for location in (None, torch.device('cpu'), lambda storage, place: storage):
            weight = load_checkpoint_file(str(tmp_path / file), location)['weight']
            assert weight.tolist() == [0, 1, 2]


def test_no_map_location_means_the_cpu(tmp_path, monkeypatch):
    torch.save({'weight': torch.ones(1)}, tmp_path / 'a.pth')
    seen = []
    original = torch.load
    monkeypatch.setattr(
        torch,
        'load',
        lambda *args, **kwargs: seen.append(kwargs) or original(*args, **kwargs),
    )
    load_checkpoint_file(str(tmp_path / 'a.pth'))
    assert seen == [{'map_location': 'cpu', 'weights_only': True}]


@pytest.mark.parametrize(('version', 'warns'), [('2.9.1', True), ('2.14.1+cpu', False)])
def test_a_pytorch_with_a_hole_is_warned_of_once(version, warns, tmp_path, monkeypatch):
    torch.save({}, tmp_path / 'a.pth')
    warnings = []
    monkeypatch.setattr(torch, '__version__', version)
    monkeypatch.setattr(safe_load, 'print_log', lambda text, **_: warnings.append(text))
    safe_load._warn_of_old_torch.cache_clear()
    for _ in range(2):
        load_checkpoint_file(tmp_path / 'a.pth')
    safe_load._warn_of_old_torch.cache_clear()
    assert ['2.10' in text and version in text for text in warnings] == [True] * warns


@pytest.mark.skipif(TorchVersion(torch.__version__) < '2.10', reason='CVE-2026-24747')
@pytest.mark.parametrize('claimed', [5, 2**40])
def test_a_storage_is_not_read_beyond_its_record(claimed, tmp_path):
    torch.save({'weight': torch.arange(4.0)}, tmp_path / 'a.pth')
    content = read_pickle(tmp_path / 'a.pth')
    number = b'\x8a\x08' + claimed.to_bytes(8, 'little')
    lying = content.replace(b'K\x04N', number + b'N').replace(b'K\x04t', number + b't')
    assert lying != content
    write_records(tmp_path / 'a.pth', lying, **{'0': bytes(16)})
    with pytest.raises(ValueError, match=r'Can not load .*a\.pth'):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_repeated_and_endless_lists_load_and_deep_ones_are_refused(tmp_path):
    value = []
    value.append(value)
    for _ in range(40):
        value = [value, value]
    torch.save({'x': value}, tmp_path / 'a.pth')
    assert len(load_checkpoint_file(tmp_path / 'a.pth')['x']) == 2
    write_records(
        tmp_path / 'a.pth', b'\x80\x02}U\x01x' + b']' * 10**4 + b'a' * 9999 + b's.'
    )
    with pytest.raises(ValueError, match='RecursionError'):
        load_checkpoint_file(tmp_path / 'a.pth')

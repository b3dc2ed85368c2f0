import os
import pickle
import threading
import zipfile
from collections import Counter, OrderedDict, deque
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from operator import attrgetter

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as stock
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

from mmdmlora.engine import load_checkpoint_file, pickle_check, safe_load
from mmdmlora.engine.inert import inert_globals
from tests.test_engine.toy_runner import toy_runner

load = partial(CheckpointLoader.load_checkpoint, logger='silent')


class Reduce:
    """Pickles as a call; callable itself, so that calls can be chained."""

    def __init__(self, function, *args) -> None:
        self.value = (function, args)

    def __reduce__(self):
        return self.value

    def __call__(self) -> None:
        """Only makes the instance callable, which pickle asks for."""


def poisoned_buffer(**state) -> HistoryBuffer:
    """A buffer whose pickled state holds whatever is given."""
    buffer = HistoryBuffer([1.0, 3.0], [1, 1])
    vars(buffer).update(state)
    return buffer


def make_hostile(marker) -> dict:
    command = f'touch {marker}'
    globals_of_method = Reduce(getattr, HistoryBuffer.update, '__globals__')
    return {
        'os.system': Reduce(os.system, command),
        'eval': Reduce(eval, f'open({str(marker)!r}, "w")'),
        'exec': Reduce(exec, f'open({str(marker)!r}, "w")'),
        'import chain': Reduce(
            Reduce(getattr, Reduce(__import__, 'os'), 'system'), command
        ),
        'getattr chain': Reduce(Reduce(getattr, globals_of_method, 'get'), 'np'),
        'getattr on a stub': Reduce(
            Reduce(getattr, Reduce(getattr, HistoryBuffer, 'update'), 'mro')
        ),
        'attrgetter': Reduce(attrgetter, 'os.system'),
        'function in a buffer': poisoned_buffer(_statistics_methods={'mean': os.system}),
        'function in a deque': deque([Reduce(os.system, command)]),
        'array of objects': np.array([Reduce(os.system, command)], dtype=object),
        'module': torch.nn.Linear(1, 1),
    }


@pytest.mark.parametrize('kind', make_hostile('x'))
def test_a_file_that_asks_for_code_is_refused(kind, tmp_path):
    marker = tmp_path / 'executed'
    file = tmp_path / 'hostile.pth'
    torch.save({'state_dict': {}, 'x': make_hostile(marker)[kind]}, file)
    with pytest.raises(ValueError, match=r'hostile\.pth: refused.*safetensors'):
        load(str(file))
    assert not marker.exists()


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
    allowed = [HistoryBuffer, (np.ndarray, 'numpy.ndarray'), Reduce]
    torch.serialization.add_safe_globals(allowed)
    torch.save({'x': np.arange(3)}, tmp_path / 'good.pth')
    torch.save({'x': Reduce(os.system, 'true')}, tmp_path / 'bad.pth')
    load_checkpoint_file(tmp_path / 'good.pth')
    with pytest.raises(ValueError, match='system'):
        load_checkpoint_file(tmp_path / 'bad.pth')
    assert set(torch.serialization.get_safe_globals()) == set(allowed)


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
            load(str(tmp_path / name))


def test_a_missing_file_and_a_list_are_clear_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'gone\.pth can not be found\.'):
        load(str(tmp_path / 'gone.pth'))
    torch.save([1], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='holds a list'):
        load(str(tmp_path / 'list.pth'))


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
    loaded = load(str(tmp_path / 'a.pth'))
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
    resumed.resume(str(tmp_path / 'stock' / 'epoch_2.pth'))
    assert resumed.epoch == 2
    for actual, expected in zip(
        resumed.message_hub.get_scalar('train/loss').data,
        runner.message_hub.get_scalar('train/loss').data,
        strict=True,
    ):
        assert actual.tobytes() == expected.tobytes()


def test_resume_does_not_execute_the_config_of_a_checkpoint(tmp_path):
    runner = toy_runner(tmp_path, max_epochs=1)
    runner.train()
    file = tmp_path / 'epoch_1.pth'
    checkpoint = load_checkpoint_file(file)
    marker = tmp_path / 'executed'
    checkpoint['meta']['config'] = f'open({str(marker)!r}, "w")'
    torch.save(checkpoint, file)
    runner.resume(str(file))
    assert not marker.exists()


def test_configs_are_dropped(tmp_path):
    runner = toy_runner(tmp_path, max_epochs=1)
    runner.train()
    file = tmp_path / 'epoch_1.pth'
    loaded = load_checkpoint_file(file)
    hub = loaded['message_hub']
    for holder in (loaded['meta'], hub['runtime_info'], hub['resumed_keys']):
        assert holder and not {'cfg', 'config'} & set(holder)
    with inert_globals():
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


def test_compressed_zeros_load(tmp_path):
    zeros = np.zeros((2000, 2000), dtype=np.float32)
    np.savez_compressed(tmp_path / 'a.npz', zeros=zeros)
    assert (tmp_path / 'a.npz').stat().st_size < zeros.nbytes / 100
    assert load_checkpoint_file(tmp_path / 'a.npz')['zeros'].shape == zeros.shape


def test_an_array_of_text_is_refused(tmp_path):
    np.savez(tmp_path / 'a.npz', names=np.array(['cat']))
    with pytest.raises(ValueError, match='no type of numbers'):
        load_checkpoint_file(tmp_path / 'a.npz')


def test_steps_are_counted(tmp_path, monkeypatch):
    torch.save({'x': list(range(50))}, tmp_path / 'a.pth')
    load_checkpoint_file(tmp_path / 'a.pth')
    monkeypatch.setattr(pickle_check, 'MAX_OPERATIONS', 50)
    with pytest.raises(ValueError, match='more than 50 steps'):
        load_checkpoint_file(tmp_path / 'a.pth')


TEXT = b'X\0\0\x10\0' + b'x' * 2**20 + b'q\0'
COPIES = TEXT + b'c_codecs\nencode\nh\0U\6latin1\x86R' * 1100
KEY = b'})' + b''.join(b'q%ch%c\x86' % (place, place) for place in range(40)) + b'Ns'


@pytest.mark.parametrize(
    ('unused', 'message'),
    [
        (COPIES, 'its tensors and texts take 1.07 GiB'),
        (KEY, 'more than 1,000,000 values'),
    ],
    ids=['copies of a text', 'a key that takes long to hash'],
)
def test_what_a_pickle_leaves_unused_counts(unused, message, tmp_path):
    with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
        archive.writestr('a/data.pkl', b'\x80\x02' + unused + b'}.')
    with pytest.raises(ValueError, match=message):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_an_archive_behind_another_format_is_not_mistaken_for_the_file(tmp_path):
    old = tmp_path / 'a.pth'
    huge = torch.zeros(1).expand(2**40)
    torch.save({'x': huge}, old, _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(old, 'a') as archive:
        archive.writestr('a/data.pkl', b'\x80\x02}.')
    with pytest.raises(ValueError, match='its tensors and texts take 4 TiB'):
        load_checkpoint_file(old)


def test_a_name_in_two_cases_is_refused(tmp_path):
    torch.save({'x': torch.ones(1)}, tmp_path / 'a.pth')
    with zipfile.ZipFile(tmp_path / 'a.pth', 'a') as archive:
        archive.writestr('a/DATA/0', b'else')
    with pytest.raises(ValueError, match='two records have the same name'):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_attributes_that_replace_methods_are_refused(tmp_path):
    poisoned = OrderedDict(weight=torch.ones(1))
    poisoned.copy = OrderedDict
    torch.save({'state_dict': poisoned}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='may replace its methods'):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_a_shared_array_is_rebuilt_once(tmp_path):
    array = np.arange(3)
    torch.save({'x': [array, array]}, tmp_path / 'a.pth')
    one, other = load_checkpoint_file(tmp_path / 'a.pth')['x']
    assert one is other


def test_tensors_go_where_map_location_says(tmp_path):
    torch.save({'weight': torch.arange(3.0)}, tmp_path / 'a.pth')
    save_file({'weight': torch.arange(3.0)}, tmp_path / 'a.safetensors')
    assert load(str(tmp_path / 'a.pth'), 'meta')['weight'].device.type == 'meta'
    for file in ('a.pth', 'a.safetensors'):
        for location in (None, torch.device('cpu'), lambda storage, place: storage):
            weight = load(str(tmp_path / file), location)['weight']
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
    load(str(tmp_path / 'a.pth'))
    assert seen == [{'map_location': 'cpu', 'weights_only': True}]


def test_embedded_weights_load_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_load, 'WEIGHTS_DIR', tmp_path)
    save_file({'weight': torch.arange(3.0)}, tmp_path / 'tiny.safetensors')
    assert load('mmdmlora://tiny')['weight'].tolist() == [0, 1, 2]
    for name in ('huge', '../tiny', ''):
        with pytest.raises(ValueError, match=r"\['tiny'\]"):
            load(f'mmdmlora://{name}')


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder, the address that serves it, and an empty torch.hub cache."""
    folder = tmp_path / 'site'
    folder.mkdir()
    requests = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, template, *args) -> None:
            requests.append(args[0])

    server = HTTPServer(('127.0.0.1', 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    yield folder, f'http://127.0.0.1:{server.server_port}', requests
    server.shutdown()
    thread.join()
    server.server_close()


def test_web_addresses_are_cached_and_safe(site, tmp_path):
    folder, address, requests = site
    marker = tmp_path / 'executed'
    torch.save({'weight': torch.ones(2)}, folder / 'good.pth')
    torch.save({'x': Reduce(os.system, f'touch {marker}')}, folder / 'bad.pth')
    for _ in range(2):
        assert load(f'{address}/good.pth?download=1')['weight'].tolist() == [1, 1]
    assert len(requests) == 1
    with pytest.raises(ValueError, match=r'bad\.pth: refused'):
        load(f'{address}/bad.pth')
    assert not marker.exists()


@pytest.mark.parametrize(
    ('scheme', 'table'),
    [
        ('torchvision', 'get_torchvision_models'),
        ('modelzoo', 'get_torchvision_models'),
        ('openmmlab', 'get_external_models'),
        ('open-mmlab', 'get_external_models'),
        ('mmcls', 'get_mmcls_models'),
    ],
)
def test_schemes_of_mmengine_go_through_the_safe_loader(
    scheme, table, site, tmp_path, monkeypatch
):
    folder, address, _ = site
    marker = tmp_path / 'executed'
    torch.save({'backbone.weight': torch.ones(2)}, folder / 'good.pth')
    torch.save({'x': Reduce(os.system, f'touch {marker}')}, folder / 'bad.pth')
    known = {name: f'{address}/{name}.pth' for name in ('good', 'bad')}
    monkeypatch.setattr(stock, table, lambda: known)
    loaded = load(f'{scheme}://good')
    weights = loaded['state_dict'] if scheme == 'mmcls' else loaded
    assert next(iter(weights.values())).tolist() == [1, 1]
    with pytest.raises(ValueError, match='refused'):
        load(f'{scheme}://bad')
    with pytest.raises(ValueError, match='no such name'):
        load(f'{scheme}://other')
    assert not marker.exists()


def test_local_entries_of_openmmlab_lie_in_its_home(tmp_path, monkeypatch):
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    monkeypatch.setattr(stock, 'get_external_models', lambda: {'mine': 'a.pth'})
    torch.save({'weight': torch.ones(2), 'meta': {'config': 'x'}}, tmp_path / 'a.pth')
    assert load('openmmlab://mine')['meta'] == {}

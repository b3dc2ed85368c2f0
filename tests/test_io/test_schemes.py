"""Checkpoints by path, web address and name, and the loaders of a whole process."""

import ast
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest
import torch
from mmengine.runner import checkpoint as stock
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

from mmdmlora.io import install_safe_loaders, load_checkpoint, schemes
from tests.test_engine.toy_runner import toy_runner
from tests.test_io.with_safe_loaders import safe_loaders_installed
from tests.test_reliability.hostile_tool import Runs


@pytest.fixture(params=['ours', 'installed'])
def load(request):
    """Our own function, and mmengine's after ``install_safe_loaders``."""
    if request.param == 'ours':
        yield load_checkpoint
    else:
        with safe_loaders_installed():
            yield partial(CheckpointLoader.load_checkpoint, logger='silent')


def test_embedded_weights_load_by_name(load, tmp_path, monkeypatch):
    monkeypatch.setattr(schemes, 'WEIGHTS_DIR', tmp_path)
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


def test_web_addresses_are_cached_and_safe(load, site, tmp_path):
    folder, address, requests = site
    marker = tmp_path / 'executed'
    torch.save({'weight': torch.ones(2)}, folder / 'good.pth')
    torch.save({'x': Runs(os.system, f'touch {marker}')}, folder / 'bad.pth')
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
    load, scheme, table, site, tmp_path, monkeypatch
):
    folder, address, _ = site
    marker = tmp_path / 'executed'
    torch.save({'backbone.weight': torch.ones(2)}, folder / 'good.pth')
    torch.save({'x': Runs(os.system, f'touch {marker}')}, folder / 'bad.pth')
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


def test_local_entries_of_openmmlab_lie_in_its_home(load, tmp_path, monkeypatch):
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    monkeypatch.setattr(stock, 'get_external_models', lambda: {'mine': 'a.pth'})
    torch.save({'weight': torch.ones(2), 'meta': {'config': 'x'}}, tmp_path / 'a.pth')
    assert load('openmmlab://mine')['meta'] == {}


def test_resume_does_not_execute_the_config_of_a_checkpoint(tmp_path):
    runner = toy_runner(tmp_path, max_epochs=1)
    runner.train()
    file = tmp_path / 'epoch_1.pth'
    checkpoint = load_checkpoint(file)
    marker = tmp_path / 'executed'
    checkpoint['meta']['config'] = f'open({str(marker)!r}, "w")'
    torch.save(checkpoint, file)
    with safe_loaders_installed():
        runner.resume(str(file))
    assert not marker.exists()


def test_a_path_may_be_a_path_object_and_missing(tmp_path):
    torch.save({'weight': torch.ones(2)}, tmp_path / 'a.pth')
    assert load_checkpoint(tmp_path / 'a.pth')['weight'].tolist() == [1, 1]
    with pytest.raises(FileNotFoundError, match='gone'):
        load_checkpoint(tmp_path / 'gone.pth')


def test_other_schemes_are_left_to_mmengine(tmp_path, monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    CheckpointLoader.register_scheme('own://', lambda name, location: {name: location})
    assert load_checkpoint('own://a') == {'own://a': 'cpu'}
    with pytest.raises(FileNotFoundError):
        load_checkpoint('unknown://a')


def test_installing_twice_is_installing_once():
    with safe_loaders_installed():
        once = dict(CheckpointLoader._schemes)
        install_safe_loaders()
        assert dict(CheckpointLoader._schemes) == once
        assert once[''] is schemes.load_from_local


IMPORT = """
from mmengine.fileio.backends.registry_utils import backends, prefix_to_backends
from mmengine.runner import CheckpointLoader
def tables():
    return [dict(t) for t in (CheckpointLoader._schemes, backends, prefix_to_backends)]
before = tables()
import mmdmlora
assert tables() == before
"""
RESUME = """
import sys
from tests.test_engine.toy_runner import toy_runner
runner = toy_runner(sys.argv[1], resume=True, max_epochs=2)
runner.call_hook('before_run')
runner.load_or_resume()
assert runner.epoch == 1
"""
PLAIN = [{'type': 'mmdmlora.PlainCheckpointHook'}]


def run_in_new_process(code: str, *args: str) -> subprocess.CompletedProcess:
    command = [sys.executable, '-c', code, *args]
    return subprocess.run(command, capture_output=True, text=True)


def test_importing_the_package_changes_no_table_of_mmengine():
    result = run_in_new_process(IMPORT)
    assert not result.returncode, result.stderr


def test_without_the_installation_a_runner_resumes_as_a_stock_one(tmp_path):
    """A stock checkpoint is refused by torch; one of PlainCheckpointHook resumes."""
    toy_runner(tmp_path / 'stock', max_epochs=1).train()
    toy_runner(tmp_path / 'plain', max_epochs=1, hooks=PLAIN).train()
    refused = run_in_new_process(RESUME, str(tmp_path / 'stock'))
    assert 'UnpicklingError: Weights only load failed' in refused.stderr
    resumed = run_in_new_process(RESUME, str(tmp_path / 'plain'))
    assert not resumed.returncode, resumed.stderr
    resumed = run_in_new_process(
        'from mmdmlora.io import install_safe_loaders; install_safe_loaders()' + RESUME,
        str(tmp_path / 'stock'),
    )
    assert not resumed.returncode, resumed.stderr


def test_the_layer_imports_nothing_of_the_package_above_it():
    for file in Path(schemes.__file__).parent.glob('*.py'):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level < 2, f'{file}: line {node.lineno}'
                is_own = (node.module or '').partition('.')[0] == 'mmdmlora'
                assert not is_own, f'{file}: line {node.lineno}'

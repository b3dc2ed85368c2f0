"""Importing the package changes nothing elsewhere, and what is missing is told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mmdmlora

ROOT = Path(__file__).parents[1]

# mmpretrain's own import comes first: what that changes is not ours.
SNAPSHOT = """
import json, sys, warnings
import torch
from mmengine.fileio.backends import registry_utils
from mmengine.registry import root
from mmengine.runner import checkpoint
from mmpretrain.utils import dependency, register_all_modules

register_all_modules(init_default_scope=False)

def snapshot():
    registries = [r for r in vars(root).values() if isinstance(r, root.Registry)]
    registries += [c for r in registries for c in r.children.values()]
    optimizer = sys.modules['torch.optim.optimizer']
    return dict(
        filters=[str(f) for f in warnings.filters],
        multimodal=dependency.WITH_MULTIMODAL,
        loaders={k: str(v) for k, v in checkpoint.CheckpointLoader._schemes.items()},
        load=str([checkpoint.load_checkpoint, checkpoint._load_checkpoint, torch.load]),
        optimizer_hooks=str([
            optimizer._global_optimizer_pre_hooks, optimizer._global_optimizer_post_hooks
        ]),
        safe_globals=str(torch.serialization.get_safe_globals()),
        backends=sorted(registry_utils.backends)
        + sorted(registry_utils.prefix_to_backends),
        types={
            f'{r.scope}.{r.name}': {k: str(v) for k, v in r.module_dict.items()}
            for r in registries if r.scope != 'mmdmlora'
        },
        modes=[torch.is_grad_enabled(), str(torch.get_default_dtype())],
    )

before = snapshot()
import mmdmlora
mmdmlora.DMLoRAModel, mmdmlora.BranchPruningHook, mmdmlora.VTAB1k
from mmdmlora import cli
after = snapshot()
print(json.dumps({k: [before[k], after[k]] for k in before}))
"""
PARTS = (
    'filters',
    'multimodal',
    'loaders',
    'load',
    'optimizer_hooks',
    'safe_globals',
    'backends',
    'types',
    'modes',
)


def python(code: str, *folders: Path) -> subprocess.CompletedProcess:
    path = os.pathsep.join(map(str, (ROOT, *folders)))
    return subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=path),
    )


@pytest.fixture(scope='module')
def snapshots():
    result = python(SNAPSHOT)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize('part', PARTS)
def test_importing_changes_nothing_elsewhere(snapshots, part):
    assert set(snapshots) == set(PARTS)
    before, after = snapshots[part]
    assert before == after


@pytest.mark.parametrize(
    'missing, remedy',
    [('mmcv', 'mmcv-lite'), ('mmpretrain', 'pip install "mmpretrain')],
)
def test_import_says_what_to_install(missing, remedy):
    result = python(f'import sys; sys.modules[{missing!r}] = None; import mmdmlora')
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith('ImportError: mmdmlora needs') and remedy in last


@pytest.mark.parametrize('name, remedy', [('mmcv', 'mmcv-lite'), ('mmpretrain', '<81')])
def test_a_broken_one_is_named_with_its_error(name, remedy, tmp_path):
    (tmp_path / f'{name}.py').write_text('raise RuntimeError("no operator")')
    code = f'import sys; sys.path.insert(0, {str(tmp_path)!r}); import mmdmlora.registry'
    last = python(code).stderr.strip().splitlines()[-1]
    assert last.startswith('ImportError: mmdmlora needs') and remedy in last
    assert f'(import {name}: no operator)' in last


@pytest.mark.parametrize('version, is_left_out', [('4.40.0', False), ('5.0.0', True)])
def test_multimodal_models_are_left_out_only_where_they_break(
    version, is_left_out, tmp_path
):
    """As if pycocotools and a version of transformers were installed."""
    for name, number in (('pycocotools', '2.0'), ('transformers', version)):
        folder = tmp_path / f'{name}-{number}.dist-info'
        folder.mkdir()
        text = f'Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n'
        (folder / 'METADATA').write_text(text)
    code = """
from mmdmlora import _requirements
from mmpretrain.utils import dependency
assert dependency.WITH_MULTIMODAL
with _requirements._importable_multimodal():
    print(dependency.WITH_MULTIMODAL)
assert dependency.WITH_MULTIMODAL
"""
    result = python(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[-1] == str(not is_left_out)


def test_names_that_are_not_there():
    with pytest.raises(AttributeError, match="'mmdmlora' has no attribute 'DMLoraModel'"):
        _ = mmdmlora.DMLoraModel
    assert 'DMLoRAModel' in dir(mmdmlora)


def test_a_type_in_a_config_loads_the_package():
    code = """
import sys
from mmengine.registry import HOOKS, MODELS
assert 'mmdmlora' not in sys.modules
assert MODELS.get('mmdmlora.LoRAModel') and HOOKS.get('mmdmlora.BranchPruningHook')
"""
    result = python(code)
    assert result.returncode == 0, result.stderr


def test_transformers_is_imported_by_those_who_use_it():
    code = """
import sys
import mmdmlora._everything
from mmdmlora.cli import benchmark, export, predict, report, test, train
print('transformers' in sys.modules)
import torch
from mmengine.optim import build_optim_wrapper
optimizer = dict(type='Adafactor', lr=0.1, relative_step=False)
wrapper = build_optim_wrapper(torch.nn.Linear(2, 2), dict(optimizer=optimizer))
import transformers
print(isinstance(wrapper.optimizer, transformers.Adafactor))
"""
    result = python(code)
    assert result.returncode == 0, result.stderr
    first, *_, last = result.stdout.splitlines()
    assert (first, last) == ('False', 'True')

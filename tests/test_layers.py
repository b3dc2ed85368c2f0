"""No import runs upward, in whatever form it is written."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.imports import ROOT, imported_modules

PACKAGE = ROOT / 'mmdmlora'
# What each folder may import of the others. Modules beside them are open to all, but for
# those that put the folders together.
LAYERS: dict[str, set[str]] = dict(
    io=set(),
    models={'io'},
    datasets={'io'},
    engine={'io', 'models'},
    apis={'io', 'models', 'datasets', 'engine'},
    experiments={'io', 'models', 'datasets', 'engine', 'apis'},
    cli={'io', 'models', 'datasets', 'engine', 'apis', 'experiments'},
)
ON_TOP = {'__init__', '__main__', '_everything'}


def upward_imports(root: Path, layer: str) -> list[str]:
    """What the files of a layer import from above it or beside it."""
    forbidden = {*LAYERS, *ON_TOP} - LAYERS[layer] - {layer}
    return imports_of(forbidden, (root / 'mmdmlora' / layer).rglob('*.py'), root)


def imports_of(forbidden: set[str], paths: Iterable[Path], root: Path) -> list[str]:
    """The imports of some files that lie in forbidden parts of the package."""
    return [
        f'{path.relative_to(root)}: {module}'
        for path in sorted(paths)
        for module in imported_modules(path, root)
        if module.startswith('mmdmlora.') and module.split('.')[1] in forbidden
    ]


@pytest.mark.parametrize('layer', LAYERS)
def test_no_import_runs_upward(layer):
    assert upward_imports(ROOT, layer) == []


def test_modules_that_all_may_import_import_no_layer():
    paths = [path for path in PACKAGE.glob('*.py') if path.stem not in ON_TOP]
    assert imports_of({*LAYERS, *ON_TOP}, paths, ROOT) == []


def test_every_folder_is_a_layer():
    folders = {path.parent.name for path in PACKAGE.glob('*/__init__.py')}
    assert folders <= set(LAYERS)


@pytest.mark.parametrize(
    'line',
    [
        'from mmdmlora.engine.launch import check_amp',
        'from mmdmlora.engine import launch',
        'from mmdmlora import engine',
        'import mmdmlora.engine',
        'import mmdmlora.engine.launch as launch',
        'from ...engine.launch import check_amp',
        'from ... import engine',
        'from ...engine import launch',
        'def f():\n    from ...engine import launch',
    ],
)
def test_every_form_is_seen(line, tmp_path):
    folder = tmp_path / 'mmdmlora'
    for name in ('engine', 'models/layers'):
        (folder / name).mkdir(parents=True)
    (folder / 'models' / 'layers' / 'a.py').write_text(
        f'import torch\nfrom ..pretrained import load\nfrom . import b\n{line}\n'
    )
    (found,) = upward_imports(tmp_path, 'models')
    assert found.startswith('mmdmlora/models/layers/a.py: mmdmlora.engine')

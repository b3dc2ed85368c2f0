"""What a wheel carries, and what the package says that it needs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import ROOT, imported_modules

tomllib = pytest.importorskip('tomllib', reason='a part of Python from 3.11 on')

# Where the name of a distribution isn't that of its module.
DISTRIBUTIONS = dict(
    PIL='pillow',
    cv2='opencv-python',
    markdown_it='markdown-it-py',
    sklearn='scikit-learn',
    yaml='pyyaml',
)
EXTRAS = ('benchmark', 'digits', 'experiments', 'fgvc', 'timm', 'pretrain', 'export')
TOP_FILES = (
    'pyproject.toml',
    'setup.py',
    'MANIFEST.in',
    'README.md',
    'LICENSE',
    'model-index.yml',
)
# mmcv is a requirement that a wheel can't state, see pyproject.toml.
UNDECLARED = {'mmcv'}


def project() -> dict:
    return tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']


def names(requirements: list[str]) -> set[str]:
    """The distributions in a list, without versions and without our own extras."""
    found = {re.split('[<>=]', requirement)[0] for requirement in requirements}
    return {name for name in found if not name.startswith('mmdmlora[')}


def declared(*extras: str) -> set[str]:
    """The distributions of the requirements and of some extras."""
    optional = project()['optional-dependencies']
    chosen = [requirement for extra in extras for requirement in optional[extra]]
    return names([*project()['dependencies'], *chosen])


def third_party(folder: str) -> set[str]:
    """The distributions that the files of a folder import."""
    modules = {
        module.partition('.')[0]
        for path in (ROOT / folder).rglob('*.py')
        for module in imported_modules(path)
    }
    ours = {'mmdmlora', 'tests', *(path.stem for path in (ROOT / 'tools').rglob('*.py'))}
    found = modules - ours - sys.stdlib_module_names - UNDECLARED
    return {DISTRIBUTIONS.get(module, module) for module in found}


@pytest.mark.parametrize(
    'folder, extras',
    [
        ('mmdmlora', EXTRAS),
        ('tools', ('digits', 'pretrain')),
        ('configs', ()),
        ('tests', (*EXTRAS, 'tests')),
    ],
)
def test_imports_are_declared(folder, extras):
    assert third_party(folder) <= declared(*extras)


def test_the_tested_set_pins_every_requirement():
    lines = (ROOT / 'requirements' / 'tested.txt').read_text().splitlines()
    pinned = names([line for line in lines if '==' in line])
    extras = set(project()['optional-dependencies']) - {'lite'}
    assert declared(*extras) - pinned <= {'pre-commit'}


def build(source: Path, kind: str) -> Path:
    """Build an sdist or a wheel of a source tree; return the file."""
    code = f'from setuptools import build_meta; build_meta.build_{kind}("dist")'
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=source, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    (file,) = (source / 'dist').iterdir()
    return file


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """The content of a wheel that was built from an sdist of the checkout."""
    folder = tmp_path_factory.mktemp('build')
    source = folder / 'checkout'
    for name in ('mmdmlora', 'configs', 'tools'):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__')
        )
    for name in TOP_FILES:
        shutil.copy(ROOT / name, source)
    shutil.unpack_archive(build(source, 'sdist'), folder / 'unpacked')
    (unpacked,) = (folder / 'unpacked').iterdir()
    shutil.unpack_archive(build(unpacked, 'wheel'), folder / 'installed', 'zip')
    assert not (unpacked / 'mmdmlora' / '.mim').exists()
    return folder / 'installed'


def files(folder: Path) -> set[Path]:
    return {
        path.relative_to(folder)
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


def test_a_wheel_carries_package_configs_and_tools(installed):
    package = installed / 'mmdmlora'
    for name in ('configs', 'tools'):
        assert files(package / '.mim' / name) == files(ROOT / name)
    assert (package / '.mim' / 'model-index.yml').is_file()
    assert files(package) >= files(ROOT / 'mmdmlora')
    assert Path('py.typed') in files(package)


def test_an_installed_package_finds_configs_and_weights(installed, tmp_path):
    code = (
        'import mmdmlora; from mmdmlora.apis.compose import load_config\n'
        'from mmdmlora.apis.locations import find_config\n'
        'print(mmdmlora.__file__)\n'
        'for name in ("dmlora/vit-tiny_digits", "lora/vit-tiny_vtab-svhn"):\n'
        '    config = load_config(find_config(name))\n'
        'from mmdmlora.registry import MODELS\n'
        'MODELS.build(config.model).init_weights()'
    )
    result = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(installed)),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.startswith(str(installed))

"""Which file a config's name means."""

from pathlib import Path

import pytest

from mmdmlora.apis import locations
from mmdmlora.apis.compose import load_config
from mmdmlora.apis.locations import config_root, find_config

CONFIGS = Path(__file__).parents[2] / 'configs'
DIGITS = CONFIGS / 'dmlora' / 'vit-tiny_digits.py'
NAMES = (
    'dmlora/vit-tiny_digits',
    'dmlora/vit-tiny_digits.py',
    'configs/dmlora/vit-tiny_digits',
    'configs/dmlora/vit-tiny_digits.py',
)


@pytest.mark.parametrize('name', NAMES)
def test_a_name_means_a_shipped_config_in_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == DIGITS


def test_a_name_without_a_file_is_composed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(find_config('lora/vit-tiny_vtab-svhn'))
    assert config.model.backbone.type == 'mmdmlora.LoRAModel'


def test_a_file_means_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = Path('dmlora', 'vit-tiny_digits.py')
    own.parent.mkdir()
    own.write_text('x = 1\n')
    for name in (own, own.with_suffix(''), tmp_path / own):
        assert find_config(name).samefile(own)


@pytest.mark.parametrize('ending', ['', '.py'])
def test_a_folder_of_configs_of_ones_own_comes_first(ending, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('configs', '_base_').mkdir(parents=True)
    name = Path('configs', 'dmlora', 'vit-tiny_digits.py')
    assert find_config(f'{name.with_suffix("")}{ending}') == name


@pytest.mark.parametrize('name', ['nonsense', 'a/b/c_d.py', '/nowhere/a/b_c.py', '.', ''])
def test_other_names_are_refused_as_they_are_written(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='there is no config') as error:
        load_config(find_config(name))
    assert repr(str(Path(name))) in str(error.value)


def test_an_installed_package_reads_its_own_configs(tmp_path, monkeypatch):
    monkeypatch.setattr(locations, 'PACKAGE', tmp_path / 'mmdmlora')
    with pytest.raises(ValueError, match='install the package with pip'):
        config_root()
    (tmp_path / 'configs' / '_base_').mkdir(parents=True)
    assert config_root() == tmp_path / 'configs'
    carried = tmp_path / 'mmdmlora' / '.mim' / 'configs'
    (carried / '_base_').mkdir(parents=True)
    assert config_root() == carried

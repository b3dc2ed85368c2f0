"""``~`` in paths and in whole configs."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdmlora.io import expand_home, load_checkpoint


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    return str(tmp_path)


def test_paths_keep_their_type(home):
    assert expand_home('~/a') == f'{home}/a'
    assert expand_home('~') == home
    assert expand_home(Path('~/a')) == Path(home, 'a')


@pytest.mark.parametrize(
    'path', ['', 'a/~/b', '/~', './~', 'a~', 'https://x/~y', '~nobody-of-that-name/a']
)
def test_what_names_no_home_folder_stays(path):
    assert expand_home(path) == path


def test_a_config_is_changed_in_place(home):
    cfg = Config(
        dict(
            a='~/a',
            b=dict(c=['~/c', 3, dict(d='~/d')], e=('~/e', None)),
            f=dict(g='x', h=True),
        )
    )
    inner = cfg.f
    expand_home(cfg._cfg_dict)
    assert cfg.to_dict() == dict(
        a=f'{home}/a',
        b=dict(c=[f'{home}/c', 3, dict(d=f'{home}/d')], e=(f'{home}/e', None)),
        f=dict(g='x', h=True),
    )
    assert cfg.f is inner


def test_a_checkpoint_is_looked_for_in_the_home_folder(home):
    with pytest.raises(FileNotFoundError, match=f'^{home}/none.pth'):
        load_checkpoint('~/none.pth')

"""Contact sheets: size, order of the samples, colours and messages."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmdmlora.apis.browse import TILE, _in_turn, browse, tile
from mmdmlora.apis.compose import load_config
from tests.trees import make_vtab_task
from tests.wrapped_data import WRAPPERS

ROOT = Path(__file__).parents[2]
DIGITS = str(ROOT / 'configs/linear/vit-tiny_digits.py')


def test_classes_come_in_turn():
    assert _in_turn([2, 2, 0, 1, 0, 2], 5) == [2, 3, 0, 4, 1]
    assert _in_turn([2, 2, 0], 9) == [2, 0, 1]


def test_small_pictures_are_enlarged_by_whole_numbers():
    picture = np.random.RandomState(0).randint(0, 256, (3, 32, 20), dtype=np.uint8)
    drawn = np.asarray(tile(picture, bgr=False))
    assert drawn.shape == (96, 60, 3)
    np.testing.assert_array_equal(drawn[1::3, 1::3], picture.transpose(1, 2, 0))


def test_large_pictures_are_shrunk_and_keep_their_shape():
    drawn = tile(np.full((1, 500, 250), 7, np.uint8), bgr=False)
    assert drawn.size == (TILE // 2, TILE)
    assert np.asarray(drawn).shape[-1] == 3


@pytest.mark.parametrize('to_rgb, channel', [(True, 0), (False, 2)])
def test_channels_are_turned_as_the_model_turns_them(tmp_path, to_rgb, channel):
    folder = make_vtab_task(tmp_path, 'dtd', 47)
    for file in (folder / 'images' / 'train800').iterdir():
        Image.new('RGB', (16, 16), (250, 0, 0)).save(file)
    dataset = dict(
        type='mmdmlora.VTAB1k',
        data_root=str(tmp_path),
        task='dtd',
        split='train800',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )
    config = dict(
        train_dataloader=dict(dataset=dataset), data_preprocessor=dict(to_rgb=to_rgb)
    )
    sheet = np.asarray(browse([Config(config)], columns=2, rows=1)).reshape(-1, 3)
    is_colourful = np.ptp(sheet.astype(int), axis=1) > 200
    assert is_colourful.sum() > 10_000
    assert (sheet[is_colourful].argmax(axis=1) == channel).all()


def test_sections_lie_below_each_other():
    config = load_config(DIGITS)
    one, two = browse([config], rows=1), browse([config, config], rows=1)
    assert two.size == (one.width, 2 * one.height)
    taller = browse([config], rows=2)
    assert taller.height > one.height and taller.width == one.width


def test_config_without_training_data():
    with pytest.raises(ValueError, match='has no train_dataloader'):
        browse([Config(dict(test_dataloader=dict()))])


def test_the_tool_writes_a_picture(tmp_path, monkeypatch, capsys):
    out = tmp_path / 'sheet.png'
    argv = ['browse_data.py', DIGITS, DIGITS, '--out', str(out), '--columns', '4']
    monkeypatch.setattr(sys, 'argv', argv)
    runpy.run_path(str(ROOT / 'tools' / 'browse_data.py'), run_name='__main__')
    assert f'wrote {out}' in capsys.readouterr().out
    with Image.open(out) as sheet:
        assert sheet.width == 4 * 120 + 8


@pytest.mark.parametrize('wrap', WRAPPERS.values(), ids=WRAPPERS)
def test_wrapped_data_sets_are_drawn(wrap):
    config = load_config(DIGITS)
    config.train_dataloader.dataset = wrap(config.train_dataloader.dataset)
    assert browse([config], columns=10, rows=1).height > TILE

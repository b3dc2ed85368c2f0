"""Weights are written as the ending says."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from mmdmlora.io import load_checkpoint, save_weights

WEIGHT = torch.arange(6.0).reshape(2, 3)
STATE = dict(a=WEIGHT, tied=WEIGHT, turned=WEIGHT.T, half=WEIGHT.half())
META = dict(classes=('cat', 'dog'))


@pytest.mark.parametrize('ending', ['.pth', '.pt'])
def test_checkpoints_of_mmengine(tmp_path, ending):
    save_weights(STATE, tmp_path / f'a{ending}', META)
    loaded = torch.load(tmp_path / f'a{ending}', weights_only=True)
    assert loaded['meta'] == dict(dataset_meta=META)
    assert all(torch.equal(loaded['state_dict'][k], v) for k, v in STATE.items())


def test_versions_of_modules_are_kept(tmp_path):
    state = torch.nn.BatchNorm1d(3).state_dict()
    save_weights(state, tmp_path / 'a.pth')
    loaded = torch.load(tmp_path / 'a.pth', weights_only=True)['state_dict']
    assert loaded._metadata == state._metadata


def test_safetensors(tmp_path):
    file = tmp_path / 'a.safetensors'
    save_weights(STATE, file, META)
    for loaded in (load_file(file), load_checkpoint(file)):
        assert loaded.keys() == STATE.keys()
        assert all(torch.equal(loaded[k], v) for k, v in STATE.items())
    with safe_open(file, 'pt') as opened:
        meta = opened.metadata()
    assert meta['format'] == 'pt'
    assert json.loads(meta['dataset_meta']) == dict(classes=['cat', 'dog'])


@pytest.mark.parametrize('name', ['a.py', 'a', 'a.npz', 'a.pth.tar', 'a.PTH'])
def test_other_endings(tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name}' must end in one of"):
        save_weights(STATE, tmp_path / name)
    assert not list(tmp_path.iterdir())

"""Methods come from their configs, variants change them, other libraries match them."""

from pathlib import Path

import pytest
import torch

from mmdmlora.apis.benchmark.methods import find_method, known_methods
from mmdmlora.apis.compose import load_config

BASE = Path(__file__).parents[3] / 'configs' / '_base_'
METHODS = BASE / 'methods'
HEAD = 96 * 10 + 10
LORA = 4 * 2 * 8 * (96 + 96)  # layers, q and v, rank, in and out


@pytest.fixture(scope='module')
def backbone():
    return load_config(BASE / 'backbones' / 'vit-tiny.py').model.to_dict()


def trained(name, backbone):
    model = find_method(name, METHODS).build(backbone)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_every_config_is_a_method():
    configs = {file.stem for file in METHODS.iterdir() if file.suffix == '.py'}
    assert {*known_methods(METHODS)} == configs | {'mmpretrain-lora', 'peft-lora'}


@pytest.mark.parametrize(
    'name, expected',
    [
        ('linear', HEAD),
        ('lora', HEAD + LORA),
        ('lora:rank=2', HEAD + LORA // 4),
        ('dmlora-fixed-scale', HEAD + 8 * LORA),
        ('dmlora', HEAD + 8 * LORA + 8),
        ('dmlora-fixed-scale:num_branches=16,draws=sample', HEAD + 16 * LORA),
        ('dmlora:learn_scale=false,num_branches=1', HEAD + LORA),
        ("lora:targets=[dict(type='.*qkv', parts=('q',))]", None),
        ("lora:targets=[{'type': '.*qkv', 'parts': ('q',)}]", HEAD + LORA // 2),
        ('mmpretrain-lora', HEAD + 4 * 8 * (96 + 3 * 96)),
        ('mmpretrain-lora:rank=4', HEAD + 4 * 4 * (96 + 3 * 96)),
        ('peft-lora', HEAD + 4 * 8 * (96 + 3 * 96)),
        ('peft-lora:rank=4,scale=2.0', HEAD + 4 * 4 * (96 + 3 * 96)),
    ],
)
def test_trained_parameters_follow_from_the_settings(name, expected, backbone):
    if expected is None:
        with pytest.raises(ValueError, match='can not be read'):
            find_method(name, METHODS)
    else:
        assert trained(name, backbone) == expected


@pytest.mark.parametrize(
    'name, message',
    [
        ('x', 'no method is named .x.. Known are: adapter, .*peft-lora'),
        ('Lora', 'Known are'),
        ('', 'Known are'),
        ('../methods/lora', 'Known are'),
        ('lora:ranks=2', "no setting 'ranks'. Its settings are: rank, scale"),
        ('linear:rank=2', 'Its settings are: frozen_dtype'),
        ('lora:module=2', "no setting 'module'"),
        ('lora:type=x', "no setting 'type'"),
        ('peft-lora:drop_rate=0.1', 'Its settings are: rank, scale'),
        ('peft-lora:rank=0', 'rank must be a whole number above 0'),
        ('mmpretrain-lora:scale=word', 'scale must be a number above 0'),
        ('lora:rank', 'can not be read'),
        ('lora:rank=', 'can not be read'),
        ('lora:rank=2)+(', 'can not be read'),
        ('lora:rank=2,rank=4', 'can not be read'),
        ('lora:**{}', 'can not be read'),
        ('lora:rank=open("x")', 'can not be read'),
    ],
)
def test_what_can_not_be_read_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        find_method(name, METHODS)


def test_values_are_judged_by_the_method(backbone):
    with pytest.raises(ValueError, match='draws'):
        find_method('dmlora:draws=often', METHODS).build(backbone)


def test_peft_has_the_backbones_tokens(backbone):
    """Patches that overlap, too: as many tokens go through as many blocks."""
    model = find_method('peft-lora', METHODS).build(backbone)
    tokens = model.get_base_model().forward_features(torch.zeros(2, 3, 32, 32))
    assert tokens.shape == (2, 1 + 5 * 5, 96)


def test_peft_takes_a_vit_alone():
    swin = load_config(BASE / 'backbones' / 'swin-b.py').model.to_dict()
    swin['backbone']['arch'] = dict(embed_dims=12, depths=[1, 1], num_heads=[2, 2])
    swin['backbone']['out_indices'] = (1,)
    with pytest.raises(ValueError, match='got a SwinTransformer: leave peft-lora out'):
        find_method('peft-lora', METHODS).build(swin)


def test_peft_refuses_a_vit_that_timm_has_not(backbone):
    backbone = dict(backbone, backbone=dict(backbone['backbone'], qkv_bias=False))
    with pytest.raises(ValueError, match='would measure another model'):
        find_method('peft-lora', METHODS).build(backbone)

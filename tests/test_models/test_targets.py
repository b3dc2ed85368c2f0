"""Finding layers, and messages for targets that don't fit."""

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from mmdmlora.models.targets import find_targets, is_linear
from tests.tiny import VIT, wrapped

OPTIONS = ('rank', 'scale')


@pytest.fixture(scope='module')
def vit():
    return MODELS.build(VIT)


def names(backbone, *targets):
    return [t.name for t in find_targets(backbone, targets, OPTIONS)]


def test_suffix_and_whole_path_expression(vit):
    suffix = names(vit, dict(type='attn.qkv'))
    assert suffix == ['layers.0.attn.qkv', 'layers.1.attn.qkv']
    assert names(vit, dict(type=r'layers\.\d\.attn\.qkv')) == suffix
    assert names(vit, dict(type=r'.*1\.attn\.qkv')) == suffix[1:]
    with pytest.raises(ValueError, match='matches no linear layer'):
        names(vit, dict(type=r'layers\.\d\.at'))


def test_first_match_wins_and_overrides(vit):
    found = find_targets(
        vit,
        [dict(type='0.attn.qkv', rank=3), dict(type='attn.qkv', scale=2.0)],
        OPTIONS,
    )
    assert [t.overrides for t in found] == [dict(rank=3), dict(scale=2.0)]


def test_overrides_reach_the_adapters():
    model = wrapped(
        'DMLoRAModel',
        rank=2,
        num_branches=2,
        targets=[
            dict(type='0.attn.qkv', parts=('k',), rank=3, num_branches=5, scale=4.0),
            dict(type='ffn.layers.1'),
        ],
    )
    assert list(model.adapters) == [
        'layers.0.attn.qkv.k',
        'layers.0.ffn.layers.1',
        'layers.1.ffn.layers.1',
    ]
    first, *_, last = model.adapters.values()
    assert first.down[0].shape == (3, 24) and len(first.down) == 5
    assert float(first.scale) == pytest.approx(4) and float(last.scale) == 1
    assert last.up[0].shape == (24, 2) and last.down[0].shape == (2, 48)


@pytest.mark.parametrize(
    'target, message',
    [
        (dict(type='nothing'), "'nothing' matches no linear layer.*attn.qkv"),
        (dict(type='ln1'), "matches 'layers.0.ln1', a LayerNorm"),
        (dict(type='patch_embed.projection'), 'a Conv2d'),
        (dict(type='attn.proj', parts=('q',)), 'needs a fused qkv'),
        (dict(type='attn.qkv', parts=('q', 'x')), 'different ones of'),
        (dict(type='attn.qkv', parts=('q', 'q')), 'different ones of'),
        (dict(type='attn.qkv', parts=None), 'different ones of'),
        (dict(type='attn.qkv', parts=[['q']]), 'different ones of'),
        (dict(type='(', rank=1), 'no valid regular expression'),
        (dict(type='a{99999999999999999999}'), 'no valid regular expression'),
        (dict(type='(' * 3000), 'no valid regular expression'),
        (dict(type='attn.qkv', alpha=2), r"unknown keys \['alpha'\]"),
        ({'type': 'attn.qkv', 1: 2, 'x': 3}, r"unknown keys \[1, 'x'\]"),
        (dict(rank=2), "string 'type'"),
    ],
)
def test_faults_are_named(vit, target, message):
    with pytest.raises(ValueError, match=message):
        names(vit, target)


@pytest.mark.parametrize('targets', [5, dict(type='attn.qkv')])
def test_targets_that_are_no_list_are_refused(vit, targets):
    with pytest.raises(ValueError, match='targets is a list of dicts'):
        find_targets(vit, targets, OPTIONS)


def test_no_target_is_an_error(vit):
    with pytest.raises(ValueError, match='targets is empty'):
        names(vit)


def test_backbone_without_the_papers_places():
    with pytest.raises(ValueError, match='has no fused qkv, no separate layers'):
        from mmdmlora.registry import MODELS as OURS

        OURS.build(
            dict(
                type='mmdmlora.LoRAModel',
                module=dict(type='mmpretrain.ResNet', depth=18),
            )
        )


@pytest.mark.parametrize(
    'layer, linear',
    [
        (nn.Linear(2, 3), True),
        (nn.Conv2d(2, 3, 1), True),
        (nn.Conv2d(2, 3, 3), False),
        (nn.Conv2d(2, 3, 1, stride=2), False),
        (nn.Conv2d(2, 2, 1, groups=2), False),
        (nn.Conv2d(2, 3, 1, padding=1), False),
        (nn.MultiheadAttention(4, 2).out_proj, True),
    ],
)
def test_what_counts_as_linear(layer, linear):
    assert is_linear(layer) is linear


def test_targets_in_a_plain_module_tree():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))

    assert names(Net(), dict(type='body.*')) == ['body.0', 'body.2']

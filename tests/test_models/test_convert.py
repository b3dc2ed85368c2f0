"""Backbones of other libraries, converted: equal outputs, or a clear refusal."""

import os

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS as STOCK
from safetensors.torch import load_file
from torch import nn

from mmdmlora.models.convert import convert_backbone
from tests.backbones import SOURCES, build, jax_vit, layouts, outputs


def with_head(state):
    """A stand-in for a classifier, which must be left out."""
    return dict(state, **{'head.weight': torch.ones(3, 3), 'head.bias': torch.ones(3)})


@pytest.mark.parametrize('name', SOURCES)
def test_outputs_are_equal_from_every_layout(name):
    source, stock = build(name)
    for form, state in layouts(name, source).items():
        arch, converted = convert_backbone(state)
        assert arch.source.startswith(form) and arch.family == type(stock).__name__
        for parameter in stock.parameters():
            nn.init.zeros_(parameter)
        stock.load_state_dict(converted, strict=True)
        theirs, ours = outputs(source, stock, name)
        assert theirs.std() > 0.1
        assert (theirs - ours).abs().max() < 1e-5, form


@pytest.mark.parametrize('name', SOURCES)
def test_own_names_are_kept(name):
    stock = build(name)[1]
    state = stock.state_dict()
    named = {f'backbone.{k}': v for k, v in state.items()}
    named['head.fc.weight'] = torch.ones(3, 3)
    for given in (state, dict(state_dict=named), with_head(state)):
        arch, converted = convert_backbone(given)
        assert arch.source.startswith('mmpretrain')
        assert converted.keys() == state.keys()
        assert all(torch.equal(converted[k], state[k]) for k in state)


def test_architectures():
    found = {name: convert_backbone(build(name)[0].state_dict())[0] for name in SOURCES}
    assert {n: (a.embed_dims, a.depths, a.patch_size) for n, a in found.items()} == {
        'vit': (24, (3,), 8),
        'dinov2': (24, (2,), 14),
        'swin': (16, (2, 1, 2), 4),
        'convnext': (8, (1, 2, 1, 1), 4),
    }
    for name, arch in found.items():
        expected = sum(p.numel() for p in build(name)[1].parameters())
        assert arch.parameters == expected
        assert f'{expected:,} parameters' in str(arch)


def moco(state):
    return {
        **{f'module.base_encoder.{k}': v for k, v in state.items()},
        **{f'module.momentum_encoder.{k}': v + 1 for k, v in state.items()},
        'module.base_encoder.head.0.weight': torch.ones(2, 2),
        'module.predictor.0.weight': torch.ones(2, 2),
    }


@pytest.mark.parametrize(
    'nest',
    [
        lambda s: dict(model=with_head(s), epoch=3),
        lambda s: dict(model=dict(s, mask_token=s['cls_token'], decoder_pos_embed=s)),
        lambda s: dict(state_dict={f'module.{k}': v for k, v in s.items()}, epoch=3),
        lambda s: dict(state_dict=moco(s), optimizer={}, arch='vit_base'),
        lambda s: {f'backbone.{k}': v for k, v in s.items()},
    ],
    ids=['mae', 'mae-visualize', 'mocov3-linear', 'mocov3', 'prefix'],
)
def test_nesting_and_prefixes(nest):
    state = build('vit')[0].state_dict()
    expected = convert_backbone(state)[1]
    converted = convert_backbone(nest(state))[1]
    assert converted.keys() == expected.keys()
    assert all(torch.equal(converted[k], expected[k]) for k in expected)


@pytest.mark.parametrize('prefix', ['opt/target/', 'params/'])
def test_prefixes_of_jax(prefix):
    state = jax_vit(build('vit')[0].state_dict(), heads=2)
    inner = {prefix + k: v for k, v in state.items()}
    inner['opt/state/step'] = np.zeros(())
    expected = convert_backbone(state)[1]
    assert all(torch.equal(v, expected[k]) for k, v in convert_backbone(inner)[1].items())


def test_relative_position_index_of_every_window():
    for window in (2, 3, 7):
        stock = STOCK.build(dict(SOURCES['swin'][2], window_size=window))
        state = stock.state_dict()
        bare = {k: v for k, v in state.items() if not k.endswith('_index')}
        assert len(bare) == len(state) - 5
        converted = convert_backbone(bare)[1]
        assert all(torch.equal(converted[k], state[k]) for k in state)


def without(state, part):
    kept = {k: v for k, v in state.items() if part not in k}
    assert len(kept) < len(state)
    return kept


TRUNCATED = [
    ('vit', 'timm', 'blocks.1.', 'layers.1.ln1.weight'),
    ('vit', 'timm', 'blocks.2.mlp.fc2.bias', 'layers.2.ffn.layers.1.bias'),
    ('vit', 'timm', 'cls_token', 'cls_token'),
    ('vit', 'JAX', 'encoder_norm/scale', 'ln1.weight'),
    ('vit', 'JAX', 'encoderblock_1/', 'layers.1.'),
    ('vit', 'JAX', 'encoderblock_1/MultiHeadDotProductAttention_1/key', '1.attn.key'),
    ('dinov2', 'timm', 'blocks.0.ls1', 'layers.0.attn.gamma1.weight'),
    ('swin', 'timm', 'layers.1.blocks.0', 'stages.1.blocks.0.norm1.weight'),
    ('swin', 'official', 'layers.2.', 'stages.2.blocks.0.norm1.weight'),
    ('swin', 'official', 'layers.1.downsample.reduction', '1.downsample.reduction'),
    ('convnext', 'timm', 'stages.1.blocks.0', 'stages.1.0.gamma'),
    ('convnext', 'official', 'downsample_layers.2', 'downsample_layers.2.0.weight'),
    ('convnext', 'official', 'stages.3', 'stages.3.0.gamma'),
]


@pytest.mark.parametrize('name, form, part, missing', TRUNCATED)
def test_what_is_missing_is_named(name, form, part, missing):
    state = layouts(name, build(name)[0])[form]
    with pytest.raises(ValueError, match=f'incomplete: .*{missing}'):
        convert_backbone(without(state, part))


@pytest.mark.parametrize(
    'extra, message',
    [
        ({'reg_token': torch.zeros(1, 4, 24)}, 'register tokens'),
        ({'register_tokens': torch.zeros(1, 4, 24)}, 'register tokens'),
        ({'dist_token': torch.zeros(1, 1, 24)}, 'distillation token'),
        ({'blocks.0.attn.q_norm.weight': torch.zeros(12)}, 'no place for .*q_norm'),
        ({'pos_embed': torch.zeros(1, 16, 24)}, 'pos_embed has 16 tokens'),
    ],
)
def test_variants_that_would_compute_something_else(extra, message):
    with pytest.raises(ValueError, match=message):
        convert_backbone(build('vit')[0].state_dict() | extra)


def test_unknown_names():
    message = r"names are unknown.*timm ViT.*file names \['conv1.weight'\]"
    with pytest.raises(ValueError, match=message):
        convert_backbone({'conv1.weight': torch.zeros(1)})


@pytest.mark.parametrize('state', [{}, {'state_dict': {'a': 3}}])
def test_files_without_tensors(state):
    with pytest.raises(ValueError, match='holds no tensors. Its keys are'):
        convert_backbone(state)


@pytest.mark.weights
@pytest.mark.skipif(
    'MMDMLORA_DINOV2' not in os.environ,
    reason='MMDMLORA_DINOV2 names no file with a DINOv2 ViT-S/14',
)
def test_real_dinov2_weights():
    arch, state = convert_backbone(load_file(os.environ['MMDMLORA_DINOV2']))
    assert (arch.embed_dims, arch.depths, arch.patch_size) == (384, (12,), 14)
    stock = STOCK.build(
        dict(
            type='VisionTransformer',
            arch='dinov2-small',
            img_size=518,
            patch_size=14,
            layer_scale_init_value=1e-5,
        )
    )
    stock.load_state_dict(state, strict=True)

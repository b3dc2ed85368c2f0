"""RepAdapter: its places, its formula, what it trains, saves and merges."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmdmlora.models.layers.rep_adapter import RepAdapter
from mmdmlora.models.methods.repadapter_model import RepAdapterModel
from mmdmlora.registry import MODELS
from tests.tiny import (
    BACKBONES,
    SWIN,
    VIT,
    check_trains_exactly,
    features,
    images,
    plain,
    train_steps,
    wrapped,
)

# For each backbone: the stock module whose output (or, after '<', input) is adapted in a
# block, the adapter's name there, and the dimension of the channels.
SPOTS = dict(
    vit=[('ln1', 'attn.qkv', -1), ('ln2', 'ffn.layers.0.0', -1)],
    swin=[('norm1', 'attn.w_msa.qkv', -1), ('norm2', 'ffn.layers.0.0', -1)],
    timm=[('norm1', 'attn.qkv', -1), ('norm2', 'mlp.fc1', -1)],
    convnext=[('<depthwise_conv', 'depthwise_conv', 1), ('norm', 'pointwise_conv1', -1)],
    convnext_conv=[
        ('<depthwise_conv', 'depthwise_conv', 1),
        ('norm', 'pointwise_conv1', 1),
    ],
)
NUMBER = dict(vit=4, swin=8, timm=4, convnext=8, convnext_conv=8)
POINTWISE = [dict(type='pointwise_conv1')]
MERGEABLE = dict(
    vit=None, swin=None, timm=None, convnext=POINTWISE, convnext_conv=POINTWISE
)
everywhere = pytest.mark.parametrize('backbone', BACKBONES)


def build(backbone='vit', **options) -> RepAdapterModel:
    return wrapped('RepAdapterModel', backbone, **{'dim': 4, **options})


def randomized(backbone='vit', **options) -> RepAdapterModel:
    model = build(backbone, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.trainable_parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return model.eval()


def reference(adapter: RepAdapter, x: torch.Tensor, dim: int, scale: float, groups: int):
    """The paper's formula with pointwise convolutions over a sequence."""
    moved = x.movedim(dim, 1)
    flat = moved.flatten(2)
    hidden = F.conv1d(flat, adapter.down.weight[..., None], adapter.down.bias)
    y = F.conv1d(hidden, adapter.up.weight[..., None], adapter.up.bias, groups=groups)
    return (flat + scale * y).view_as(moved).movedim(1, dim)


@everywhere
def test_stands_before_the_attention_and_the_mlp_with_the_papers_formula(backbone):
    model, stock = randomized(backbone, scale=0.5), plain(backbone)
    without = features(stock, images())
    hooked = 0
    for spot, name, dim in SPOTS[backbone]:
        for path, adapter in model.adapters.items():
            if not path.endswith(name):
                continue
            apply = partial(reference, adapter, dim=dim, scale=0.5, groups=2)
            module = stock.get_submodule(path.removesuffix(name) + spot.lstrip('<'))
            if spot.startswith('<'):
                module.register_forward_pre_hook(lambda m, x, apply=apply: apply(x[0]))
            else:
                module.register_forward_hook(lambda m, x, y, apply=apply: apply(y))
            hooked += 1
    assert hooked == len(model.adapters) == NUMBER[backbone]
    expected = features(stock, images())
    assert (expected - without).abs().max() > 1e-2
    torch.testing.assert_close(features(model, images()), expected, atol=1e-5, rtol=1e-5)


def test_dropout_stands_inside_the_bottleneck():
    adapter = RepAdapter(12, dim=6, groups=3, scale=2.0, drop_rate=0.5)
    nn.init.normal_(adapter.up.weight)
    x = torch.randn(2, 5, 12)
    torch.manual_seed(0)
    y = adapter(x)
    torch.manual_seed(0)
    hidden = F.dropout(F.linear(x, adapter.down.weight), 0.5).transpose(1, 2)
    up = F.conv1d(hidden, adapter.up.weight[..., None], groups=3).transpose(1, 2)
    torch.testing.assert_close(y, x + 2.0 * up)


def test_initialisation_is_xaviers():
    torch.manual_seed(0)
    adapter = RepAdapter(768, dim=8)
    bound = (6 / (768 + 8)) ** 0.5
    assert 0.99 * bound < adapter.down.weight.abs().max() <= bound
    for tensor in (adapter.down.bias, adapter.up.weight, adapter.up.bias):
        assert not tensor.any()


@everywhere
def test_trains_all_of_the_adapters_and_nothing_else(backbone):
    model = build(backbone)
    adapters = {id(p) for a in model.adapters.values() for p in a.parameters()}
    assert {id(p) for p in model.trainable_parameters()} == adapters
    check_trains_exactly(model, 6, weight_decay=0.0)


@everywhere
def test_state_holds_the_adapters_and_rebuilds_the_model(backbone):
    model = build(backbone, scale=0.5)
    train_steps(model, 3)
    state = copy.deepcopy(model.state_dict())
    tensors = ('down.weight', 'down.bias', 'up.weight', 'up.bias', 'scale')
    assert set(state) == {'backbone_fingerprint'} | {
        f'module.{name}.adapter.{t}' for name in model.adapters for t in tensors
    }
    rebuilt = build(backbone, scale=7.0)
    rebuilt.load_state_dict(state, strict=True)
    model.eval()
    rebuilt.eval()
    assert torch.equal(features(rebuilt, images()), features(model, images()))
    assert not torch.equal(
        features(rebuilt, images()), features(plain(backbone), images())
    )


@pytest.mark.parametrize('other', [dict(dim=2), dict(groups=1), dict(backbone='timm')])
def test_state_of_other_settings_is_refused(other):
    with pytest.raises(ValueError, match='does not fit this RepAdapterModel'):
        build().load_state_dict(build(**other).state_dict())


def check_merge(model: nn.Module, x: torch.Tensor, backbone: str) -> None:
    before = {n: t.clone() for n, t in model.module.state_dict().items()}
    with torch.no_grad():
        expected, merged = features(model, x), model.merge()
        for name, tensor in model.module.state_dict().items():
            assert torch.equal(tensor, before[name]), name
        stock = plain(backbone)
        assert (features(stock, x) - expected).abs().max() > 1e-2
        stock.load_state_dict(merged.state_dict(), strict=True)
        assert [type(m) for m in merged.modules()] == [type(m) for m in stock.modules()]
        assert (features(stock, x) - expected).abs().max() < 1e-5
        assert torch.equal(features(model, x), expected)


@everywhere
def test_merged_backbone_is_stock_and_equal(backbone):
    model = randomized(backbone, scale=0.5, targets=MERGEABLE[backbone])
    check_merge(model, images(), backbone)


def test_merge_is_exact_where_swin_pads_its_map():
    x = torch.randn(2, 3, 36, 36, generator=torch.Generator().manual_seed(0))
    assert 36 // SWIN['patch_size'] % SWIN['window_size']
    check_merge(randomized('swin'), x, 'swin')


@pytest.mark.parametrize('backbone', ['convnext', 'convnext_conv'])
def test_merge_of_depthwise_places_is_refused(backbone):
    model = randomized(backbone)
    before = features(model, images())
    with pytest.raises(ValueError, match=r"stages.0.0.depthwise_conv'.*zero padding"):
        model.merge()
    assert torch.equal(features(model, images()), before)


def test_merge_into_a_layer_without_bias_is_refused():
    module = dict(VIT, qkv_bias=False)
    model = MODELS.build(dict(type='mmdmlora.RepAdapterModel', module=module))
    with pytest.raises(ValueError, match=r'layers.0.attn.qkv.*qkv_bias=True'):
        model.merge()


def test_targets_override_the_places_and_the_options():
    model = build(targets=[dict(type=r'layers\.1\.attn\.proj', dim=6, groups=3, scale=3)])
    assert [*model.adapters] == ['layers.1.attn.proj']
    adapter = model.adapters['layers.1.attn.proj']
    assert adapter.up.weight.shape == (24, 2) and adapter.scale == 3


def test_targets_reach_an_mlp_of_another_kind():
    module = dict(VIT, layer_cfgs=dict(ffn_type='swiglu_fused'))
    config = dict(type='mmdmlora.RepAdapterModel', module=module)
    with pytest.raises(ValueError, match='another attention or MLP'):
        MODELS.build(config)
    model = MODELS.build(dict(config, targets=[dict(type='ffn.w12')])).eval()
    for adapter in model.adapters.values():
        nn.init.normal_(adapter.up.bias)
    with torch.no_grad():
        merged, expected = model.merge(), features(model, images())
        torch.testing.assert_close(
            features(merged, images()), expected, atol=1e-5, rtol=0
        )


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(dim=0), r'dim=0 is not in 1\.\.24'),
        (dict(dim=25), r'dim=25 is not in 1\.\.24'),
        (dict(groups=0), 'groups=0'),
        (dict(groups='2'), 'groups=2'),
        (dict(scale=float('inf')), 'scale=inf'),
        (dict(groups=3), 'groups=3 does not divide dim=4'),
        (dict(dim=5, groups=5), 'groups=5 does not divide'),
        (dict(scale=0.0), 'scale=0.0'),
        (dict(drop_rate=1.0), 'drop_rate=1.0'),
        (dict(targets=[dict(type='qkv', parts=('q',))]), 'parts are for methods'),
        (dict(targets=[dict(type='qkv', rank=2)]), r"unknown keys \['rank'\]"),
        (dict(targets=[dict(type='nowhere')]), "'nowhere' matches no linear layer"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize('name', ['ResNet', 'BEiTViT'])
def test_unknown_blocks_are_named(name):
    options = dict(depth=18) if name == 'ResNet' else dict(arch=VIT['arch'], img_size=32)
    config = dict(type=f'mmpretrain.{name}', **options)
    with pytest.raises(ValueError, match=f'{name} has no block whose places are known'):
        MODELS.build(dict(type='mmdmlora.RepAdapterModel', module=config))


@pytest.mark.parametrize(
    'name, arch, number',
    [
        ('VisionTransformer', 'base', 239_808),
        ('SwinTransformer', 'base', 313_216),
        ('ConvNeXt', 'base', 469_824),
    ],
)
def test_counts_on_base_models(name, arch, number, monkeypatch):
    # mmpretrain reads drop-path rates from a tensor, which needs values.
    monkeypatch.setattr(torch, 'linspace', partial(torch.linspace, device='cpu'))
    config = dict(type=f'mmpretrain.{name}', arch=arch)
    with torch.device('meta'):
        model = MODELS.build(dict(type='mmdmlora.RepAdapterModel', module=config))
    assert sum(p.numel() for p in model.trainable_parameters()) == number

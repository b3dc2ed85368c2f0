"""Bottleneck adapters: their places, their formula, what they train and save."""

import copy
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmdmlora.models.layers.bottleneck_adapter import BottleneckAdapter
from mmdmlora.models.methods.adapter_model import AdapterModel
from mmdmlora.registry import MODELS
from tests.tiny import (
    BACKBONES,
    VIT,
    assert_starts_as,
    check_trains_exactly,
    features,
    images,
    plain,
    train_steps,
    wrapped,
)

# For each backbone: the stock module of a block whose output is adapted, the adapter's
# name there, and the dimension of the channels; the MLP comes last.
SPOTS = dict(
    vit=[('attn', 'attn.proj', -1), ('ffn.layers', 'ffn.layers.1', -1)],
    swin=[('attn', 'attn.w_msa.proj', -1), ('ffn.layers', 'ffn.layers.1', -1)],
    timm=[('attn', 'attn.proj', -1), ('mlp', 'mlp.fc2', -1)],
    convnext=[('pointwise_conv2', 'pointwise_conv2', -1)],
    convnext_conv=[('pointwise_conv2', 'pointwise_conv2', 1)],
)
BLOCKS = dict(vit=2, swin=4, timm=2, convnext=4, convnext_conv=4)
CASES = [(name, 'pfeiffer') for name in BACKBONES]
CASES += [(name, 'houlsby') for name in ('vit', 'swin', 'timm')]
everywhere = pytest.mark.parametrize('backbone, placement', CASES)


def build(backbone='vit', placement='pfeiffer', **options) -> AdapterModel:
    options = {'dim': 4, 'placement': placement, **options}
    return wrapped('AdapterModel', backbone, **options)


def randomize(model: AdapterModel) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.trainable_parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator))


def reference(adapter: BottleneckAdapter, x: torch.Tensor, dim: int) -> torch.Tensor:
    """The paper's formula with plain matrix products and GELU from its definition."""
    x = x.movedim(dim, -1)
    hidden = x @ adapter.down.weight.T + adapter.down.bias
    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return (x + hidden @ adapter.up.weight.T + adapter.up.bias).movedim(-1, dim)


@everywhere
@pytest.mark.parametrize('mode', [True, False])
def test_starts_as_the_frozen_backbone(backbone, placement, mode):
    assert_starts_as(plain(backbone, mode), build(backbone, placement).train(mode))


@everywhere
def test_stands_behind_the_branches_with_the_papers_formula(backbone, placement):
    model, stock = build(backbone, placement).eval(), plain(backbone)
    randomize(model)
    without = features(stock, images())
    spots = SPOTS[backbone] if placement == 'houlsby' else SPOTS[backbone][-1:]
    hooked = 0
    for spot, name, dim in spots:
        for path, adapter in model.adapters.items():
            if path.endswith(name):
                apply = partial(reference, adapter, dim=dim)
                module = stock.get_submodule(path.removesuffix(name) + spot)
                module.register_forward_hook(lambda m, x, y, apply=apply: apply(y))
                hooked += 1
    assert hooked == len(model.adapters) == len(spots) * BLOCKS[backbone]
    expected = features(stock, images())
    assert (expected - without).abs().max() > 1e-2
    torch.testing.assert_close(features(model, images()), expected, atol=1e-5, rtol=1e-5)


def test_stands_before_the_layer_scale():
    module = dict(VIT, layer_scale_init_value=0.25)
    torch.manual_seed(0)
    config = dict(type='mmdmlora.AdapterModel', module=module, dim=4)
    model = MODELS.build(dict(config, placement='houlsby')).eval()
    randomize(model)
    layer = model.module.layers[0]
    shift = torch.full((24,), 2.0)
    outputs = []
    for bias in (torch.zeros(24), shift):
        for place in ('attn.proj', 'ffn.layers.1'):
            with torch.no_grad():
                model.adapters[f'layers.0.{place}'].up.bias.copy_(bias)
        x = torch.ones(1, 3, 24)
        outputs.append((layer.attn(x), layer.ffn(x, identity=x)))
    for before, after in zip(*outputs, strict=True):
        torch.testing.assert_close(after - before, (0.25 * shift).expand(1, 3, 24))


def test_dropout_stands_inside_the_bottleneck():
    adapter = BottleneckAdapter(12, dim=6, drop_rate=0.5)
    nn.init.normal_(adapter.up.weight)
    x = torch.randn(2, 5, 12)
    torch.manual_seed(0)
    y = adapter(x)
    torch.manual_seed(0)
    hidden = F.dropout(F.gelu(x @ adapter.down.weight.T), 0.5)
    torch.testing.assert_close(y, x + hidden @ adapter.up.weight.T)


def test_initialisation_is_kaimings():
    torch.manual_seed(0)
    adapter = BottleneckAdapter(768, dim=8)
    bound = 768**-0.5
    assert 0.99 * bound < adapter.down.weight.abs().max() <= bound
    for tensor in (adapter.down.bias, adapter.up.weight, adapter.up.bias):
        assert not tensor.any()


@everywhere
def test_trains_all_of_the_adapters_and_nothing_else(backbone, placement):
    """Without weight decay, which would also move what has no gradient."""
    model = build(backbone, placement)
    adapters = {id(p) for a in model.adapters.values() for p in a.parameters()}
    assert {id(p) for p in model.trainable_parameters()} == adapters
    check_trains_exactly(model, 6, weight_decay=0.0)


@everywhere
def test_state_holds_the_adapters_and_rebuilds_the_model(backbone, placement):
    model = build(backbone, placement)
    train_steps(model, 3)
    state = copy.deepcopy(model.state_dict())
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert set(state) == trained | {'backbone_fingerprint'}
    rebuilt = build(backbone, placement)
    rebuilt.load_state_dict(state, strict=True)
    model.eval()
    rebuilt.eval()
    assert torch.equal(features(rebuilt, images()), features(model, images()))
    assert not torch.equal(
        features(rebuilt, images()), features(plain(backbone), images())
    )


@pytest.mark.parametrize('other', [dict(dim=2), dict(placement='houlsby')])
def test_state_of_other_settings_is_refused(other):
    with pytest.raises(ValueError, match='does not fit this AdapterModel'):
        build().load_state_dict(build(**other).state_dict())


def test_merge_is_refused_with_the_reason():
    with pytest.raises(ValueError, match='GELU .* not linear'):
        build().merge()


def test_targets_override_the_places_and_the_options():
    model = build(targets=[dict(type='layers.1.attn.qkv', dim=6, drop_rate=0.5)])
    assert [*model.adapters] == ['layers.1.attn.qkv']
    adapter = model.adapters['layers.1.attn.qkv']
    assert adapter.up.weight.shape == (72, 6) and adapter.dropout.p == 0.5


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(dim=0), r'dim=0 is not in 1\.\.24'),
        (dict(dim=1.5), r'dim=1.5 is not in 1\.\.24'),
        (dict(placement=['both']), r"placement=\['both'\] is none of"),
        (dict(drop_rate='none'), 'drop_rate=none is not in'),
        (dict(dim=25), r'dim=25 is not in 1\.\.24'),
        (dict(drop_rate=1.0), 'drop_rate=1.0'),
        (dict(placement='both'), r"placement='both' is none of \['houlsby', 'pfei"),
        (
            dict(backbone='convnext', placement='houlsby'),
            'ConvNeXtBlock has no single layer as attention_out.*another placement',
        ),
        (dict(targets=[dict(type='qkv', parts=('q',))]), 'parts are for methods'),
        (dict(targets=[dict(type='qkv', scale=2)]), r"unknown keys \['scale'\]"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize(
    'name, pfeiffer, houlsby',
    [
        ('VisionTransformer', 156_768, 313_536),
        ('SwinTransformer', 204_736, 409_472),
        ('ConvNeXt', 307_104, None),
    ],
)
def test_counts_on_base_models(name, pfeiffer, houlsby, monkeypatch):
    # mmpretrain reads drop-path rates from a tensor, which needs values.
    monkeypatch.setattr(torch, 'linspace', partial(torch.linspace, device='cpu'))
    config = dict(type=f'mmpretrain.{name}', arch='base')
    config = dict(type='mmdmlora.AdapterModel', module=config)
    for placement, number in [('pfeiffer', pfeiffer), ('houlsby', houlsby)]:
        if number is not None:
            with torch.device('meta'):
                model = MODELS.build(dict(config, placement=placement))
            assert sum(p.numel() for p in model.trainable_parameters()) == number

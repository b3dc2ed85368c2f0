"""Frozen weights in bfloat16: the same numbers as autocast around single precision."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from mmengine.model import ExponentialMovingAverage
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import mmdmlora
from mmdmlora.models.frozen_dtype import cast_by_autocast
from mmdmlora.registry import MODELS
from tests import plain_models
from tests.single_process_group import single_process_group
from tests.tiny import (
    BACKBONES,
    SIZE,
    check_trains_exactly,
    classifier_config,
    features,
    images,
    loss_of,
    train_steps,
    wrapped,
)

METHODS = {
    'lora': ('LoRAModel', dict(rank=2)),
    'dmlora': ('DMLoRAModel', dict(rank=2, num_branches=3, seed=1)),
    'dmlora, images': (
        'DMLoRAModel',
        dict(rank=2, num_branches=3, seed=1, draws='sample', learn_scale=True),
    ),
    'repadapter': ('RepAdapterModel', dict(dim=2)),
    'adapter': ('AdapterModel', dict(dim=2)),
    'vpt': ('VPTModel', dict(num_tokens=2)),
    'bitfit': ('BitFitModel', {}),
    'linear': ('LinearProbeModel', {}),
}
BEIT = dict(
    type='mmpretrain.BEiTViT',
    arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48),
    img_size=SIZE,
    patch_size=8,
)
methods = pytest.mark.parametrize('method', METHODS)


def build(method: str, backbone: str = 'vit', **options) -> nn.Module:
    name, settings = METHODS[method]
    model = wrapped(name, backbone, **settings, **options)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def half(method: str, backbone: str = 'vit', **options) -> nn.Module:
    return build(method, backbone, frozen_dtype='bfloat16', **options)


def autocast() -> torch.autocast:
    return torch.autocast('cpu', torch.bfloat16)


def run(model: nn.Module, x: Tensor | None = None) -> Tensor:
    torch.manual_seed(0)
    return features(model, images() if x is None else x)


def gradients(model: nn.Module, out: Tensor) -> dict[str, Tensor]:
    out.float().square().sum().backward()
    return known_gradients(model)


def known_gradients(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def check_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def frozen_bytes(model: nn.Module) -> int:
    frozen = (p for p in model.module.parameters() if not p.requires_grad)
    return sum(p.numel() * p.element_size() for p in frozen)


@pytest.mark.parametrize('mode', [True, False])
@pytest.mark.parametrize(
    'method, backbone',
    [(m, b) for m in METHODS for b in BACKBONES if m != 'vpt' or 'convnext' not in b],
)
def test_outputs_and_gradients_are_those_of_autocast(method, backbone, mode):
    plain, model = build(method, backbone), half(method, backbone)
    plain.train(mode)
    model.train(mode)
    with autocast():
        expected = run(plain)
    out = run(model)
    assert out.dtype is torch.float32
    assert torch.equal(out, expected.float())
    if method != 'linear':
        check_equal(gradients(model, out), gradients(plain, expected))
    assert frozen_bytes(model) < 0.53 * frozen_bytes(plain)


def test_inside_of_autocast_outputs_have_its_types():
    plain, model = build('lora', 'timm').eval(), half('lora', 'timm').eval()
    with autocast():
        expected, out = run(plain), run(model)
    assert out.dtype is expected.dtype
    assert torch.equal(out, expected)


@pytest.mark.parametrize('name', plain_models.MODELS)
def test_any_library(name):
    _, head, _ = plain_models.MODELS[name]
    plain, model = (
        mmdmlora.wrap(plain_models.build(name), 'bitfit', train_also=[head], **options)
        for options in ({}, dict(frozen_dtype='bfloat16'))
    )
    x, _ = plain_models.pictures()
    with autocast():
        expected = plain_models.logits(plain.eval()(x))
    assert torch.equal(plain_models.logits(model.eval()(x)), expected.float())
    trained = {p.dtype for p in model.trainable_parameters()}
    assert trained == {torch.float32}
    assert frozen_bytes(model) < 0.8 * frozen_bytes(plain)


@pytest.mark.parametrize(
    'make',
    [
        lambda: MODELS.build(copy.deepcopy(BEIT)),  # reads the weight itself
        lambda: plain_models.torchvision_vit(),  # nn.MultiheadAttention
        lambda: timm.create_model('resnetv2_50x1_bit'),  # standardises its weights
        lambda: timm.create_model('tf_efficientnet_b0'),  # a forward of its own
    ],
)
def test_what_runs_otherwise_is_equal_too(make):
    torch.manual_seed(0)
    module = make()
    plain, model = (
        mmdmlora.wrap(copy.deepcopy(module), 'linear', **options).eval()
        for options in ({}, dict(frozen_dtype='bfloat16'))
    )
    with torch.no_grad(), autocast():
        expected = plain(images())
    with torch.no_grad():
        out = model(images())
    if isinstance(out, tuple):
        out, expected = out[-1], expected[-1]
    assert torch.equal(out, expected.float())


def shared(other: nn.Module) -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), other)
    net.requires_grad_(False)
    return net


def test_what_else_uses_a_weight_keeps_it():
    tied = shared(nn.Embedding(4, 4))
    tied[2].weight = tied[1].weight
    view = shared(nn.LayerNorm(4))
    view[2].weight.data = view[1].weight.data[0]
    buffer = shared(nn.Identity())
    buffer[2].register_buffer('table', buffer[1].weight.data.t())
    normed = shared(nn.Identity())
    nn.utils.parametrizations.weight_norm(normed[1])
    for net in (tied, view, buffer, normed):
        assert not any(n.startswith(('1.weight', '1.par')) for n in cast_by_autocast(net))
        assert '0.weight' in cast_by_autocast(net)


def test_doubles_and_trained_weights_are_left_alone():
    net = shared(nn.Linear(4, 4).double())
    net[1].weight.requires_grad_(True)
    assert set(cast_by_autocast(net)) == {'0.weight', '0.bias', '1.bias'}


@methods
def test_training_moves_what_it_should(method):
    if method != 'linear':
        check_trains_exactly(half(method), steps=12, weight_decay=0.0)


@pytest.mark.parametrize('method', ['lora', 'dmlora', 'vpt', 'bitfit'])
def test_checkpoints_load_with_and_without(method):
    plain, model = build(method), half(method)
    train_steps(model, 2)
    check_equal(plain.state_dict(), build(method).state_dict())
    plain.load_state_dict(model.state_dict())
    with autocast():
        expected = run(plain.eval())
    assert torch.equal(run(model.eval()), expected.float())
    again = half(method)
    again.load_state_dict(plain.state_dict())
    assert torch.equal(run(again.eval()), run(model))


def test_another_backbone_is_still_noticed():
    state = half('lora').state_dict()
    other = wrapped('LoRAModel', seed=5, rank=2, frozen_dtype='bfloat16')
    with pytest.raises(ValueError, match='trained on another frozen backbone'):
        other.load_state_dict(state)


def test_weights_loaded_by_hand_are_rounded():
    model, other = half('lora'), wrapped('LinearProbeModel', seed=5).module
    weights = other.state_dict()
    own = {k.replace('.qkv.', '.qkv.original.'): v for k, v in weights.items()}
    missing = model.module.load_state_dict(own, strict=False)
    assert not missing.unexpected_keys
    layer = model.module.get_submodule('layers.0.attn.proj')
    expected = weights['layers.0.attn.proj.weight']
    assert torch.equal(layer.weight, expected.bfloat16())


def test_a_surrounding_model_may_initialise_its_head():
    wrapper = dict(type='mmdmlora.LoRAModel', rank=2, frozen_dtype='bfloat16')
    model = MODELS.build(classifier_config('vit', wrapper))
    model.init_weights()
    model.eval()
    logits = model(images())
    assert logits.dtype is torch.float32
    model.train()
    nn.functional.cross_entropy(model(images()), torch.tensor([0, 1])).backward()
    assert model.head.fc.weight.grad.dtype is torch.float32


def test_copies_and_averages():
    model = half('dmlora').eval()
    clone = copy.deepcopy(model)
    assert torch.equal(run(clone), run(model))
    average = ExponentialMovingAverage(model, momentum=0.5)
    train_steps(model, 2)
    average.update_parameters(model)
    average.update_parameters(model)
    check_equal(
        dict(clone.module.named_buffers()), dict(average.module.module.named_buffers())
    )
    for name in model._rounded:
        averaged = average.module.module.get_parameter(name)
        assert averaged.dtype is torch.bfloat16
        assert torch.equal(averaged, model.module.get_parameter(name))


@pytest.mark.parametrize('name', ['float32', 'float64', 'bfloat16', 'float16'])
def test_a_type_for_all_ends_it(name):
    dtype = getattr(torch, name)
    model, plain = half('lora').eval(), build('lora').eval()
    expected = run(plain)
    out = run(model.to(dtype), images().to(dtype))
    assert {p.dtype for p in model.parameters()} == {out.dtype} == {dtype}
    assert torch.allclose(out.float(), expected, atol=0.1)
    assert {p.dtype for p in model.merge().parameters()} == {dtype}
    assert 'bfloat16' not in model.summary()


def test_a_device_does_not_end_it():
    model = half('lora').eval()
    expected = run(model)
    assert torch.equal(run(model.to('cpu').cpu()), expected)
    assert model.to('meta').frozen_dtype == 'bfloat16'


def test_distributed_training(tmp_path):
    with single_process_group(tmp_path):
        parallel = DistributedDataParallel(
            half('dmlora').train(), find_unused_parameters=True
        )
        model = half('dmlora').train()
        loss_of(parallel, images()).backward()
        loss_of(model, images()).backward()
        check_equal(*map(known_gradients, (parallel.module, model)))


@pytest.mark.parametrize('method', ['lora', 'dmlora', 'repadapter', 'bitfit', 'linear'])
def test_merged_weights_are_in_single_precision(method):
    model, plain = half(method).eval(), build(method).eval()
    merged, expected = model.merge(), plain.merge()
    assert {p.dtype for p in merged.parameters()} == {torch.float32}
    out = run(model)
    close = dict(rtol=0, atol=0.03 * float(out.detach().abs().max()))
    assert torch.allclose(run(merged), out, **close)
    assert torch.allclose(run(merged), run(expected), **close)
    assert frozen_bytes(model) < frozen_bytes(plain)


def test_the_update_is_not_rounded_when_merged():
    model, plain = half('lora').eval(), build('lora').eval()
    path = 'layers.0.attn.qkv'
    base = model.module.get_submodule(path).original.weight.float()
    update = model.adapters[f'{path}.q'].delta_weight()
    merged = model.merge().get_submodule(path).weight
    assert torch.allclose(merged[:24] - base[:24], update, atol=1e-6)
    assert torch.equal(merged[24:48], base[24:48])
    difference = merged - plain.merge().get_submodule(path).weight
    assert 0 < difference.abs().max() <= 2**-8 * base.abs().max()


def test_methods_of_the_backbone():
    torch.manual_seed(0)
    model = mmdmlora.wrap(plain_models.timm_vit(), 'dmlora', frozen_dtype='bfloat16')
    x, _ = plain_models.pictures()
    for mode in (True, False):
        tokens = model.train(mode).forward_features(x)
        assert tokens.dtype is torch.float32
        assert model.forward_head(tokens).dtype is torch.float32


def test_refused():
    with pytest.raises(ValueError, match="frozen_dtype='float16' is unknown"):
        wrapped('LoRAModel', frozen_dtype='float16')
    with pytest.raises(ValueError, match='FullFinetuneModel trains all of them'):
        wrapped('FullFinetuneModel', frozen_dtype='bfloat16')
    net = plain_models.timm_vit()
    with pytest.raises(ValueError, match='FullFinetuneModel trains all of them'):
        mmdmlora.wrap(net, 'full', frozen_dtype='bfloat16')
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    model = half('lora')
    with pytest.raises(ValueError, match=r"'layers.1.ffn.\S+' is to be trained"):
        model.train_also(['layers.1.ffn'])
    model.module.get_parameter('layers.1.attn.proj.weight').requires_grad_(True)
    with pytest.raises(ValueError, match=r"'layers.1.attn.proj.weight' is to be trained"):
        model.train()


@pytest.mark.filterwarnings('ignore:torch.quantize')
def test_quantised_layers_are_refused():
    integer = plain_models.timm_vit().requires_grad_(False)
    integer.blocks[1].mlp.fc2.weight = nn.Parameter(
        torch.zeros(24, 96, dtype=torch.int8), requires_grad=False
    )
    packed = torch.ao.quantization.quantize_dynamic(plain_models.timm_vit())
    for net, path in ((integer, 'blocks.1.mlp.fc2'), (packed, r'blocks\.0.*')):
        with pytest.raises(ValueError, match=f'{path}.* is quantised'):
            mmdmlora.wrap(net, 'linear', frozen_dtype='bfloat16')

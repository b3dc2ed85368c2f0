"""Behind a layer norm an adapter keeps no input, and its gradients are the same."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from mmdmlora.models.layers import kept_norm
from mmdmlora.models.layers.adapted_layer import AdaptedLayer
from mmdmlora.models.layers.mix_lora import MixLoRA
from mmdmlora.registry import MODELS

WIDTH = 12


@pytest.fixture(autouse=True)
def small_inputs_count(monkeypatch):
    monkeypatch.setattr(kept_norm, 'MIN_BYTES', 0)


@pytest.fixture
def h():
    torch.manual_seed(0)
    return torch.randn(4, 5, WIDTH, dtype=torch.double).mul(3).add(2).requires_grad_()


def build_layer(**options) -> AdaptedLayer:
    torch.manual_seed(1)
    linear = nn.Linear(WIDTH, 3 * WIDTH).requires_grad_(False)
    adapters = {part: MixLoRA(WIDTH, WIDTH, rank=2, **options) for part in 'qv'}
    layer = AdaptedLayer(linear, adapters).double()
    for adapter in layer.adapters.values():
        for parameter in adapter.parameters():
            nn.init.normal_(parameter)
    return layer


def build_norm(affine: bool = True) -> nn.LayerNorm:
    torch.manual_seed(2)
    norm = nn.LayerNorm(WIDTH, eps=0.1, elementwise_affine=affine).double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return norm


def reference(layer: AdaptedLayer, x: Tensor) -> Tensor:
    """The layer's output by its formula, in plain operations."""
    q, v = (F.linear(F.linear(x, *a.down), *a.up) for a in layer.adapters.values())
    return layer.original(x) + torch.cat([q, torch.zeros_like(q), v], -1)


def gradients(output: Tensor, *models: nn.Module, inputs: tuple = ()) -> list[Tensor]:
    wanted = [p for m in models for p in m.parameters() if p.requires_grad]
    return list(torch.autograd.grad(output.sin().sum(), [*wanted, *inputs]))


def keeps(function, x: Tensor) -> bool:
    """Whether a function of a layer norm's output keeps that output for backward."""
    kept = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.untyped_storage().data_ptr())
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output = function(x)
    assert output.requires_grad
    return x.untyped_storage().data_ptr() in kept


@pytest.mark.parametrize('affine', [True, False])
def test_gradients_are_those_of_the_formula(h, affine):
    layer, norm = build_layer(), build_norm(affine)
    found = gradients(layer(norm(h)), layer, norm, inputs=(h,))
    expected = gradients(reference(layer, norm(h)), layer, norm, inputs=(h,))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_the_input_is_kept_only_where_it_is_needed(h):
    layer, norm = build_layer(), build_norm()
    assert not keeps(layer, norm(h))
    assert keeps(layer, norm(h.detach()).detach())
    assert keeps(layer, 2 * norm(h))


def test_an_input_that_was_changed_is_kept(h):
    layer, norm = build_layer(), build_norm()
    found = gradients(layer(norm(h).mul_(2)), layer, norm)
    expected = gradients(reference(layer, 2 * norm(h)), layer, norm)
    torch.testing.assert_close(found, expected)


def test_small_inputs_are_kept(h, monkeypatch):
    monkeypatch.setattr(kept_norm, 'MIN_BYTES', 2**20)
    assert keeps(build_layer(), build_norm()(h))


def test_dropped_inputs_are_used(h):
    """Dropout of the input falls between norm and adapter: its gradients need it."""
    layer, norm = build_layer(drop_rate=0.5).train(), build_norm()
    x = norm(h)
    torch.manual_seed(3)
    found = gradients(layer(x), layer)
    torch.manual_seed(3)
    dropped = [F.dropout(x, 0.5) for _ in 'qv']
    q, v = (
        F.linear(F.linear(each, *a.down), *a.up)
        for each, a in zip(dropped, layer.adapters.values(), strict=True)
    )
    output = layer.original(x) + torch.cat([q, torch.zeros_like(q), v], -1)
    torch.testing.assert_close(found, gradients(output, layer))


def test_a_norm_over_several_dimensions_is_another_norm(h):
    layer = build_layer()
    norm = nn.LayerNorm((5, WIDTH)).double()
    nn.init.normal_(norm.weight)
    found = gradients(layer(norm(h)), layer)
    torch.testing.assert_close(found, gradients(reference(layer, norm(h)), layer))


def test_backward_can_be_differentiated(h):
    layer, norm = build_layer(), build_norm()

    def second(output: Tensor) -> list[Tensor]:
        downs = [a.down[0] for a in layer.adapters.values()]
        first = torch.autograd.grad(output.sin().sum(), downs, create_graph=True)
        total = sum(each.cos().sum() for each in first)
        return list(torch.autograd.grad(total, [h, *norm.parameters(), *downs]))

    found, expected = second(layer(norm(h))), second(reference(layer, norm(h)))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize('use_reentrant', [True, False])
def test_activation_checkpointing(h, use_reentrant):
    layer, norm = build_layer(), build_norm()
    output = checkpoint(lambda h: layer(norm(h)), h, use_reentrant=use_reentrant)
    wanted = gradients(reference(layer, norm(h)), layer, norm)
    output.sin().sum().backward()
    found = [p.grad for m in (layer, norm) for p in m.parameters() if p.requires_grad]
    torch.testing.assert_close(found, wanted)


def test_autocast(h, monkeypatch):
    layer, norm = build_layer().float(), build_norm().float()
    h = h.detach().float().requires_grad_()
    found = []
    for size in (0, 2**20):
        monkeypatch.setattr(kept_norm, 'MIN_BYTES', size)
        with torch.autocast('cpu', torch.bfloat16):
            found.append(gradients(layer(norm(h)).float(), layer))
    for one, other in zip(*found, strict=True):
        assert (one - other).norm() < 1e-2 * other.norm()
    assert not torch.equal(found[0][0], found[1][0])


def test_dmlora_keeps_less_than_lora_of_mmpretrain():
    """By the normed inputs of all layers but the first, whose norm keeps nothing."""
    module = dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=24, num_layers=4, num_heads=2, feedforward_channels=96),
        img_size=32,
        patch_size=8,
    )
    stock = MODELS.build(
        dict(
            type='mmpretrain.LoRAModel',
            module=module,
            rank=2,
            alpha=2,
            targets=[dict(type='.*qkv')],
        )
    )
    ours = MODELS.build(dict(type='mmdmlora.DMLoRAModel', module=module, rank=2))
    images = torch.randn(2, 3, 32, 32)
    normed = 2 * 17 * 24 * 4  # images, tokens, features, bytes
    assert kept_bytes(stock, images) - kept_bytes(ours, images) > 2.5 * normed


def kept_bytes(model: nn.Module, images: Tensor) -> int:
    """What autograd keeps of a training step, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model.train()(images)
    assert output[0].requires_grad
    return sum(size for place, size in kept.items() if place not in weights)

"""merge() proves each layer on random numbers before it returns."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from mmdmlora.models.layers.adapted_layer import AdaptedLayer
from mmdmlora.models.layers.rep_adapter import RepAdaptedLayer
from tests.tiny import features, images, randomize, wrapped

PATH = 'layers.0.attn.qkv'
METHODS = {
    'LoRAModel': dict(rank=2),
    'DMLoRAModel': dict(rank=2, num_branches=2),
    'RepAdapterModel': dict(dim=2),
}
methods = pytest.mark.parametrize('method', METHODS)


def build(method):
    model = wrapped(method, **METHODS[method])
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def hooked(layer):
    layer.register_forward_hook(lambda module, args, out: out + 1)


def hooked_below(layer):
    layer.original.register_forward_pre_hook(lambda module, args: (2 * args[0],))


def normed_below(layer):
    parametrizations.weight_norm(layer.original)
    with torch.no_grad():
        layer.original.parametrizations.weight.original0.mul_(2)


def patched(layer):
    layer.original.forward = lambda x: nn.functional.linear(x, layer.original.weight)


@methods
@pytest.mark.parametrize('change', [hooked, hooked_below, normed_below, patched])
def test_what_was_registered_since_is_found(method, change):
    model = build(method)
    change(model.module.get_submodule(PATH))
    with pytest.raises(ValueError, match=f"no merged form: '{PATH}': the .* layer"):
        model.merge()


@pytest.mark.parametrize('factor', [0.0, 0.99, -1.0])
@pytest.mark.parametrize(
    'method, cls', [('LoRAModel', AdaptedLayer), ('RepAdapterModel', RepAdaptedLayer)]
)
def test_a_wrong_formula_is_found(method, cls, factor, monkeypatch):
    def wrong(self):
        before = self.original.weight.detach().clone()
        layer = merge(self)
        layer.weight.data = before + factor * (layer.weight.data - before)
        return layer

    merge = cls.merge
    monkeypatch.setattr(cls, 'merge', wrong)
    with pytest.raises(ValueError, match=f"'{PATH}': the folded layer differs"):
        build(method).merge()


@methods
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_merge_within_their_rounding(method, dtype):
    model = build(method).to(dtype)
    merged = model.merge()
    merged.eval()
    layer = merged.get_submodule(PATH)
    assert layer.weight.dtype == layer.bias.dtype == dtype
    x = images().to(dtype)
    with torch.no_grad():
        got, expected = features(merged, x), features(model, x)
    bound = 16 * torch.finfo(dtype).eps
    torch.testing.assert_close(got, expected, rtol=bound, atol=bound)


@methods
def test_a_diverged_training_is_named(method):
    model = build(method)
    next(model.trainable_parameters()).data.fill_(torch.nan)
    with pytest.raises(ValueError, match='is not finite: the training has diverged'):
        model.merge()


@methods
def test_merging_draws_no_random_numbers_and_keeps_modes(method):
    model = build(method).train()
    randomness = torch.get_rng_state()
    merged = model.merge()
    assert torch.equal(torch.get_rng_state(), randomness)
    assert merged.get_submodule(PATH).training
    assert model.training and model.module.get_submodule(PATH).training


def test_weights_are_rounded_once():
    """Sums in single precision would round each product."""
    model = wrapped('DMLoRAModel', rank=2, num_branches=3, scale=10.0)
    randomize(model)
    exact = torch.zeros(72, 24, dtype=torch.float64)
    for part, start in (('q', 0), ('v', 48)):
        adapter = model.adapters[f'{PATH}.{part}']
        down, up = (
            torch.stack([b.detach().double() for b in kind]).mean(0)
            for kind in (adapter.down, adapter.up)
        )
        exact[start : start + 24] = adapter.fixed_scale * (up @ down)
    exact += model.module.get_submodule(PATH).original.weight.detach().double()
    merged = model.merge().get_submodule(PATH).weight
    assert torch.equal(merged, exact.float())

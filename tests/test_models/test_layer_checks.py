"""Only layers that are their stored weight, applied once, are adapted."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvAWS2d, ConvWS2d
from mmcv.cnn import Linear as MMCVLinear
from mmengine.model import BaseModule
from timm.layers import Conv2dSame, ScaledStdConv2d, StdConv2d
from timm.layers import Linear as TimmLinear
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from mmdmlora.models.layer_checks import check_layers
from mmdmlora.models.targets import Target
from mmdmlora.registry import MODELS

METHODS = {
    'LoRAModel': dict(rank=2),
    'DMLoRAModel': dict(rank=2, num_branches=2),
    'RepAdapterModel': dict(dim=2),
    'AdapterModel': dict(dim=2),
}
methods = pytest.mark.parametrize('method', METHODS)


class Chain(BaseModule):
    """Two layers one after the other; ``change`` makes of them what is to be tried."""

    def __init__(self, change=lambda chain: None, layer=None):
        super().__init__()
        self.a = layer or nn.Linear(8, 8)
        self.b = copy.deepcopy(self.a)
        change(self)

    def forward(self, x):
        return (self.b(torch.tanh(self.a(x))),)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(MODELS, '_module_dict', dict(MODELS.module_dict))
    MODELS.register_module(module=Chain)


def wrap(method, target='a', **options):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type=f'mmdmlora.{method}',
            module=dict(type='Chain', **options),
            targets=[dict(type=target)],
            **METHODS[method],
        )
    )


def refused(message, method='LoRAModel', **options):
    with pytest.raises(ValueError, match=message):
        wrap(method, **options)


def one_module_twice(chain):
    chain.b = chain.a


def one_block_twice(chain):
    chain.one = nn.Sequential(chain.a)
    chain.two = chain.one
    del chain.a


def tied_weight(chain):
    chain.b.weight = chain.a.weight


def tied_bias(chain):
    chain.b.bias = chain.a.bias


def transposed_view(chain):
    chain.b.weight = nn.Parameter(chain.a.weight.data.t())


def row_view(chain):
    chain.b.bias = nn.Parameter(chain.a.weight.data[3])


def buffer_of_the_weight(chain):
    chain.register_buffer('table', chain.a.weight.data[:2])


def own_parameter(chain):
    chain.table = chain.a.weight


@methods
@pytest.mark.parametrize('change', [one_module_twice, one_block_twice])
def test_a_module_in_two_places_is_refused(method, change):
    target = 'a' if change is one_module_twice else 'one.0'
    message = f"'{target}', a Linear, .* the same module stands at '(b|two.0)'"
    refused(message, method, target=target, change=change)


@methods
@pytest.mark.parametrize(
    'change, other',
    [
        (tied_weight, 'b.weight'),
        (tied_bias, 'b.bias'),
        (transposed_view, 'b.weight'),
        (row_view, 'b.bias'),
        (buffer_of_the_weight, 'table'),
        (own_parameter, 'table'),
    ],
)
def test_shared_memory_is_refused(method, change, other):
    refused(f"'a', .* shares a parameter with '{other}'", method, change=change)


def test_views_beside_each_other_share_nothing():
    def flat(chain):
        memory = torch.randn(128)
        chain.a.weight = nn.Parameter(memory[:64].view(8, 8))
        chain.b.weight = nn.Parameter(memory[64:].view(8, 8))

    model = wrap('LoRAModel', change=flat)
    check_merge(model, torch.randn(4, 8))


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


COMPUTED = dict(
    weight_norm=lambda chain: parametrizations.weight_norm(chain.a),
    spectral_norm=lambda chain: parametrizations.spectral_norm(chain.a),
    orthogonal=lambda chain: parametrizations.orthogonal(chain.a),
    bias=lambda chain: parametrize.register_parametrization(chain.a, 'bias', Doubled()),
    old_weight_norm=lambda chain: nn.utils.weight_norm(chain.a),
    old_spectral_norm=lambda chain: nn.utils.spectral_norm(chain.a),
    pruned=lambda chain: prune.l1_unstructured(chain.a, 'weight', 0.5),
    pruned_bias=lambda chain: prune.l1_unstructured(chain.a, 'bias', 0.5),
)


@methods
@pytest.mark.parametrize('name', COMPUTED)
def test_computed_weights_are_refused(method, name):
    refused("'a', .* is no parameter but computed", method, change=COMPUTED[name])


def test_a_norm_that_was_removed_is_fine():
    def change(chain):
        parametrizations.weight_norm(chain.a)
        parametrize.remove_parametrizations(chain.a, 'weight')

    check_merge(wrap('LoRAModel', change=change), torch.randn(4, 8))


class Halved(nn.Linear):
    def forward(self, x):
        return super().forward(x) / 2


class DroppedInTraining(nn.Linear):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.5, self.training)


class StandardisedBelow(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean(), bias)


class WithLowRank(nn.Linear):
    """As other libraries write LoRA: equal to its weight at the start only."""

    def __init__(self, *args):
        super().__init__(*args)
        self.up = nn.Parameter(torch.zeros(8, 1))

    def forward(self, x):
        return super().forward(x) + x[..., :1] @ self.up.t()


def quantized():
    layer = torch.ao.nn.qat.Linear(
        8, 8, qconfig=torch.ao.quantization.get_default_qat_qconfig()
    )
    return layer.train()


@pytest.mark.parametrize(
    'layer',
    [
        StdConv2d(4, 4, 1),
        ScaledStdConv2d(4, 4, 1),
        ConvWS2d(4, 4, 1),
        ConvAWS2d(4, 4, 1),
        StandardisedBelow(4, 4, 1),
        Halved(8, 8),
        DroppedInTraining(8, 8),
        WithLowRank(8, 8),
        quantized(),
    ],
    ids=lambda layer: type(layer).__name__,
)
@methods
def test_a_forward_that_computes_something_else_is_refused(method, layer):
    refused(f"'a', a {type(layer).__name__}, can not .* forward", method, layer=layer)


@pytest.mark.parametrize(
    'layer',
    [
        MMCVLinear(8, 8),
        TimmLinear(8, 8),
        Conv2dSame(8, 8, 1),
        nn.modules.linear.NonDynamicallyQuantizableLinear(8, 8),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_subclass_that_computes_the_same_is_adapted(layer):
    x = torch.randn(2, 8, 3, 3) if isinstance(layer, nn.Conv2d) else torch.randn(4, 8)
    check_merge(wrap('DMLoRAModel', layer=layer), x)


def patched(chain):
    chain.a.forward = lambda x: F.linear(x, 2 * chain.a.weight)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c.a.register_forward_hook(lambda m, i, o: 2 * o), 'forward hooks'),
        (lambda c: c.a.register_forward_pre_hook(lambda m, i: None), 'forward hooks'),
        (patched, 'forward'),
    ],
)
def test_hooks_and_patches_are_refused(change, message):
    refused(f"'a', a .*Linear, can not .*{message}", 'RepAdapterModel', change=change)


def whole_numbers():
    layer = nn.Linear(8, 8)
    numbers = torch.ones(8, 8, dtype=torch.int8)
    layer.weight = nn.Parameter(numbers, requires_grad=False)
    return layer


@pytest.mark.parametrize(
    'layer, message',
    [
        (whole_numbers(), "'0', .* Tensor of torch.int8, not a plain one"),
        (nn.LazyLinear(8), "'0', .* has no shape yet"),
    ],
)
def test_weights_that_hold_nothing_to_add_to_are_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        check_layers(nn.Sequential(layer), [Target('0', layer, (), {})])


def test_nothing_is_changed_by_a_refusal():
    torch.manual_seed(0)
    chain = Chain(tied_weight)
    config = dict(type='mmdmlora.LoRAModel', rank=2, targets=[dict(type='.*')])
    MODELS.register_module('Ready', module=lambda: chain)
    with pytest.raises(ValueError, match='tied weights'):
        MODELS.build(dict(config, module=dict(type='Ready')))
    assert [type(layer) for layer in chain.children()] == [nn.Linear] * 2


class Repeated(BaseModule):
    """One layer that runs three times in a forward."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(8, 8)

    def forward(self, x):
        for _ in range(3):
            x = torch.tanh(self.a(x))
        return (x,)


@pytest.mark.parametrize('method', ['LoRAModel', 'DMLoRAModel', 'RepAdapterModel'])
def test_a_layer_that_runs_several_times_is_exact(method):
    MODELS.register_module(module=Repeated)
    model = MODELS.build(
        dict(
            type=f'mmdmlora.{method}',
            module=dict(type='Repeated'),
            targets=[dict(type='a')],
            **METHODS[method],
        )
    )
    check_merge(model, torch.randn(4, 8))


@torch.no_grad()
def check_merge(model, x):
    before = model.eval()(x)[0]
    for parameter in model.trainable_parameters():
        parameter.normal_(std=0.3)
    expected = model(x)[0]
    assert (expected - before).abs().max() > 1e-2
    merged = model.merge()
    merged.eval()
    torch.testing.assert_close(merged(x)[0], expected, atol=1e-6, rtol=1e-5)

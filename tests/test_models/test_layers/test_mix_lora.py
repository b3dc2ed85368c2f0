"""The layer's algebra, by enumeration and against other LoRA implementations."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmdmlora.models.layers.adapted_layer import AdaptedLayer
from mmdmlora.models.layers.mix_lora import MixLoRA
from tests.tiny import VIT, images, paths_of, randomize, wrapped


def filled(num_branches: int, **options) -> MixLoRA:
    torch.manual_seed(0)
    adapter = MixLoRA(6, 4, rank=2, num_branches=num_branches, **options)
    with torch.no_grad():
        for branch in adapter.up:
            branch.normal_()
    return adapter.double()


def alone(adapter: MixLoRA) -> AdaptedLayer:
    """A layer whose output is the adapter's update."""
    layer = nn.Linear(6, 4, bias=False).double()
    nn.init.zeros_(layer.weight)
    return AdaptedLayer(layer, {'all': adapter})


def forward_pair(adapter: MixLoRA, x, i: int, j: int):
    layer = alone(adapter)
    layer.paths = paths_of(layer, {'all': (i, j)})
    return layer.train()(x)


def test_training_uses_exactly_the_drawn_pair():
    adapter = filled(3, scale=2.0)
    x = torch.randn(5, 6).double()
    for i, j in itertools.product(range(3), range(3)):
        expected = 2.0 * x @ adapter.down[i].T @ adapter.up[j].T
        torch.testing.assert_close(forward_pair(adapter, x, i, j), expected)


def test_inference_is_the_mean_over_all_pairs_of_active_branches():
    adapter = filled(4, scale=0.5)
    adapter.active_indices = ((0, 2, 3), (1, 2, 3))
    x = torch.randn(5, 6).double()
    pairs = itertools.product([0, 2, 3], [1, 2, 3])
    outputs = torch.stack([forward_pair(adapter, x, i, j) for i, j in pairs])
    layer = alone(adapter).eval()
    torch.testing.assert_close(layer(x), outputs.mean(0))
    torch.testing.assert_close(layer(x), x @ adapter.delta_weight().T)


def test_mean_is_taken_in_the_precision_of_the_branches():
    adapter = filled(3)
    exact = sum(adapter.up) @ sum(adapter.down) / 9
    torch.testing.assert_close(adapter.delta_weight(), exact, rtol=1e-14, atol=1e-14)


def test_branches_returns_the_active_ones():
    adapter = filled(3)
    adapter.active_indices = ((1, 2), (0, 1, 2))
    down, up = adapter.branches()
    assert down.shape == (2, 2, 6) and up.shape == (3, 4, 2)
    assert torch.equal(down[0], adapter.down[1])


@pytest.mark.parametrize('scale', [1.0, 10.0])
def test_scale_is_its_logarithms_exponential(scale):
    adapter = filled(1, scale=scale, learn_scale=True)
    assert adapter.scale.item() == pytest.approx(scale, rel=1e-6)
    x = torch.randn(3, 6).double()
    layer = alone(adapter)
    layer(x).sum().backward()
    ds_dlog = (layer(x).sum()).item()  # d(s z)/d(log s) = s z
    assert adapter.log_scale.grad.item() == pytest.approx(ds_dlog, rel=1e-6)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(rank=0), 'rank=0'),
        (dict(rank=5), 'rank=5'),
        (dict(rank=True), 'rank=True'),
        (dict(rank=2, num_branches=0), 'num_branches=0'),
        (dict(rank=2, scale=0.0), 'scale=0.0'),
        (dict(rank=2, scale=float('nan')), 'scale=nan'),
        (dict(rank=2, scale=1e300), 'scale=1e'),
        (dict(rank=2, drop_rate=1.0), 'drop_rate=1.0'),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MixLoRA(6, 4, **options)


@pytest.mark.parametrize('part, rows', [('q', slice(0, 4)), ('v', slice(8, 12))])
def test_part_of_a_fused_qkv_changes_its_rows_only(part, rows):
    qkv = nn.Linear(4, 12).double()
    adapter = MixLoRA(4, 4, rank=2)
    nn.init.normal_(adapter.up[0])
    layer = AdaptedLayer(qkv, {part: adapter.double()})
    x = torch.randn(2, 7, 4).double()
    difference = layer(x) - qkv(x)
    torch.testing.assert_close(difference[..., rows], x @ adapter.delta_weight().T)
    difference[..., rows] = 0
    assert difference.abs().max() == 0


def test_conv_equals_linear_on_channels():
    linear = nn.Linear(6, 4).double()
    conv = nn.Conv2d(6, 4, 1).double()
    conv.load_state_dict(dict(weight=linear.weight[:, :, None, None], bias=linear.bias))
    adapter = filled(1)
    x = torch.randn(2, 6, 3, 5).double()
    by_conv = AdaptedLayer(conv, {'all': adapter})(x)
    by_linear = AdaptedLayer(linear, {'all': adapter})(x.movedim(1, -1))
    torch.testing.assert_close(by_conv, by_linear.movedim(-1, 1))
    merged = copy.deepcopy(AdaptedLayer(conv, {'all': adapter})).merge()
    torch.testing.assert_close(merged(x), by_conv)


def test_equals_mmpretrain_lora_model():
    from mmpretrain.models.peft.lora import LoRAModel as Theirs

    ours = wrapped('LoRAModel', rank=4, scale=2.0, targets=[dict(type='attn.qkv')])
    randomize(ours)
    torch.manual_seed(0)
    theirs = Theirs(VIT, alpha=8, rank=4, targets=[dict(type='.*qkv')])
    base = ours.module.state_dict()
    theirs.module.load_state_dict(
        {k.replace('.original.', '.original_layer.'): v for k, v in base.items()},
        strict=False,
    )
    for name, adapter in ours.adapters.items():
        layer = theirs.module.get_submodule(name)
        layer.lora_down.weight.data.copy_(adapter.down[0])
        layer.lora_up.weight.data.copy_(adapter.up[0])
    x = images()
    for model in (ours, theirs):
        model.train()
    out, expected = ours(x)[0], theirs(x)[0]
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    # Random weights: behind the last layer norm a sum of squares has no gradient.
    weights = torch.randn(out.shape)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    for name, adapter in ours.adapters.items():
        layer = theirs.module.get_submodule(name)
        assert adapter.down[0].grad.abs().mean() > 0.01
        torch.testing.assert_close(
            adapter.down[0].grad, layer.lora_down.weight.grad, rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(
            adapter.up[0].grad, layer.lora_up.weight.grad, rtol=1e-4, atol=1e-4
        )


def test_equals_huggingface_peft_on_layers_and_merge():
    peft = pytest.importorskip('peft')
    from mmpretrain.registry import MODELS

    ours = wrapped('LoRAModel', rank=4, scale=3.0, targets=[dict(type='ffn.layers.1')])
    randomize(ours)
    theirs = peft.get_peft_model(
        MODELS.build(VIT),
        peft.LoraConfig(r=4, lora_alpha=12, target_modules=r'.*ffn\.layers\.1'),
    )
    base = theirs.base_model.model
    state = ours.module.state_dict()
    base.load_state_dict(
        {k.replace('.original.', '.base_layer.'): v for k, v in state.items()},
        strict=False,
    )
    for name, adapter in ours.adapters.items():
        layer = base.get_submodule(name)
        layer.lora_A['default'].weight.data.copy_(adapter.down[0])
        layer.lora_B['default'].weight.data.copy_(adapter.up[0])
    x = images()
    ours.eval()
    base.eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[0], base(x)[0], rtol=1e-5, atol=1e-6)
        name = next(iter(ours.adapters))
        torch.testing.assert_close(
            ours.adapters[name].delta_weight(),
            base.get_submodule(name).get_delta_weight('default'),
        )


def test_mixed_precision_runs_in_low_precision():
    layer = AdaptedLayer(nn.Linear(6, 6), {'all': MixLoRA(6, 6, rank=2)})
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert layer(torch.randn(3, 6)).dtype == torch.bfloat16


def test_dropout_acts_on_the_branch_only():
    linear = nn.Linear(6, 6)
    layer = AdaptedLayer(linear, {'all': MixLoRA(6, 6, rank=2, drop_rate=0.5)})
    x = torch.randn(3, 6)
    assert torch.equal(layer(x), linear(x))
    nn.init.normal_(layer.adapters['all'].up[0])
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    update = F.linear(x, layer.adapters['all'].delta_weight())
    torch.testing.assert_close(layer(x), linear(x) + update)

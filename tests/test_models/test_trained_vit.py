"""A ViT as training runs it."""

import copy
from contextlib import nullcontext

import pytest
import torch
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.models.utils import MultiheadAttention
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from mmdmlora.apis.benchmark.steps import OperationCount
from mmdmlora.models import execution
from mmdmlora.models.trained_vit import FORWARDS
from mmdmlora.registry import MODELS

DIMS, HIDDEN, TOKENS, BATCH = 8, 16, 5, 2
VIT = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=DIMS, num_layers=2, num_heads=2, feedforward_channels=HIDDEN),
    img_size=32,
    patch_size=16,
)
EVERYWHERE = [dict(type=r'.*\.(qkv|proj|ffn\.layers\.0\.0|ffn\.layers\.1|w12|w3)')]
METHODS = dict(
    lora=dict(type='LoRAModel', targets=EVERYWHERE),
    batch=dict(type='DMLoRAModel', targets=EVERYWHERE, learn_scale=True),
    sample=dict(type='DMLoRAModel', targets=EVERYWHERE, draws='sample'),
    repadapter=dict(type='RepAdapterModel', drop_rate=0.0),
    adapter=dict(type='AdapterModel', placement='houlsby'),
    shallow=dict(type='VPTModel', deep=False),
    deep=dict(type='VPTModel'),
    bitfit=dict(type='BitFitModel'),
    linear=dict(type='LinearProbeModel'),
    full=dict(type='FullFinetuneModel'),
)


def build(method: str = 'lora', **vit) -> nn.Module:
    torch.manual_seed(0)
    config = {**METHODS[method], 'module': {**copy.deepcopy(VIT), **vit}}
    config['type'] = f'mmdmlora.{config["type"]}'
    model = MODELS.build(config).double()
    for parameter in model.trainable_parameters():
        nn.init.normal_(parameter, std=0.5)
    return model.train()


def images() -> torch.Tensor:
    return torch.randn(BATCH, 3, 32, 32, generator=torch.manual_seed(1)).double()


def step(model: nn.Module) -> dict[str, torch.Tensor]:
    """Outputs and gradients of a training step."""
    torch.manual_seed(2)
    outputs = model(images())
    loss = sum((i + 1) * out.sin().sum() for i, out in enumerate(outputs))
    if loss.requires_grad:
        loss.backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {**{f'output {i}': out for i, out in enumerate(outputs)}, **grads}


@pytest.fixture
def as_stock(monkeypatch):
    """A step as mmpretrain's own layers take it."""

    def run(model: nn.Module) -> dict[str, torch.Tensor]:
        with monkeypatch.context() as patch:
            patch.setattr(execution, 'trained_form', lambda vits: nullcontext())
            return step(model)

    return run


def flops(model: nn.Module, run=step) -> int:
    with FlopCounterMode(display=False) as counter:
        run(model)
    return counter.get_total_flops()


# The output projection and the MLP of the other tokens. Attention isn't counted.
SPARED = 2 * BATCH * (TOKENS - 1) * (DIMS**2 + 2 * DIMS * HIDDEN)


FORMS = dict(
    scaled=dict(layer_scale_init_value=0.3, pre_norm=True, final_norm=False),
    dropped_paths=dict(drop_path_rate=0.5),
    gated=dict(layer_cfgs=dict(ffn_type='swiglu_fused')),
)


@pytest.mark.parametrize(
    ('method', 'form'),
    [
        *((method, '') for method in METHODS),
        *((method, form) for method in ('lora', 'sample', 'deep') for form in FORMS),
    ],
)
def test_outputs_and_gradients_are_equal(method, form, as_stock):
    vit = FORMS[form] if form else {}
    model = build(method, **vit)
    expected = as_stock(copy.deepcopy(model))
    got = step(model)
    assert got.keys() == expected.keys()
    assert len(got) > 1 or method == 'linear'
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_backward_puts_qkv_together_at_once(as_stock):
    model = build(out_type='raw')

    def zero_tensors(run) -> int:
        with OperationCount() as counted:
            run(model)
        return counted.by_name['aten.select_backward.default']

    assert zero_tensors(step) == 0
    assert zero_tensors(as_stock) == 3 * len(model.module.layers)


def test_only_the_class_token_is_computed(as_stock):
    """Linear probing has no backward: the forward's difference is known."""
    model = build('linear')
    queries = []
    attention = model.module.layers[-1].attn

    def look(q, k, v, **options):
        queries.append(q.shape)
        return scaled_dot_product_attention(q, k, v, **options)

    attention.scaled_dot_product_attention = look
    assert flops(model, as_stock) - flops(model) == SPARED
    assert [shape[2] for shape in queries] == [TOKENS, 1]


@pytest.mark.parametrize('method', ['lora', 'sample', 'deep'])
def test_a_step_is_spared_twice_as_much(method, as_stock):
    """Backward needs at least the gradients of what forward computes."""
    model = build(method)
    assert flops(copy.deepcopy(model), as_stock) - flops(model) >= 2 * SPARED


@pytest.mark.parametrize(
    'vit',
    [
        dict(out_type='raw'),
        dict(out_type='featmap'),
        dict(out_type='avg_featmap'),
        dict(out_indices=(0, 1)),
        dict(out_indices=0),
    ],
)
def test_what_reads_other_tokens_gets_them(vit, as_stock):
    model = build(**vit)
    expected = as_stock(copy.deepcopy(model))
    got = step(model)
    assert got.keys() == expected.keys()
    for name, value in got.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize(
    'place', ['layers.1', 'layers.1.attn', 'layers.1.ffn', 'layers.1.ln2', 'ln1']
)
@pytest.mark.parametrize('kind', ['forward', 'forward_pre', 'full_backward'])
def test_a_hook_sees_all_tokens(place, kind):
    model, shapes = build(), []

    def look(module, *values):
        tensor = values[-1]
        shapes.append((tensor[0] if isinstance(tensor, tuple) else tensor).shape)

    module = model.module.get_submodule(place)
    handle = getattr(module, f'register_{kind}_hook')(look)
    step(model)
    assert shapes == [(BATCH, TOKENS, DIMS)]
    handle.remove()
    step(model)
    assert len(shapes) == 1


@pytest.mark.parametrize('place', ['layers.1', 'layers.1.attn', 'layers.0', ''])
def test_activation_checkpointing(place, as_stock):
    """mmengine replaces forwards, which backward repeats once the form has ended."""
    model = build()
    expected = as_stock(copy.deepcopy(model))
    name = f'module.{place}'.rstrip('.')
    turn_on_activation_checkpointing(model, [name])
    model.train()
    torch.testing.assert_close(step(model), expected, rtol=1e-10, atol=1e-12)
    seen = []
    module = model.get_submodule(name)
    module.register_forward_hook(lambda module, args, out: seen.append(type(module)))
    step(model)
    stock = (VisionTransformer, TransformerEncoderLayer, MultiheadAttention)
    assert seen and set(seen) <= set(stock)


@pytest.mark.parametrize('kind', FORWARDS)
def test_a_class_with_another_forward_is_left_alone(kind, monkeypatch, as_stock):
    """As one that writes attention maps down would be given."""
    model, calls = build(), []
    expected = as_stock(copy.deepcopy(model))

    def forward(self, x):
        calls.append(x.shape)
        return FORWARDS[kind](self, x)

    monkeypatch.setattr(kind, 'forward', forward)
    got = step(model)
    assert len(calls) == (1 if kind is VisionTransformer else len(model.module.layers))
    for name, value in got.items():
        assert torch.equal(value, expected[name]), name


def test_a_vit_inside_of_a_classifier(as_stock):
    torch.manual_seed(0)
    head = dict(type='mmpretrain.VisionTransformerClsHead', num_classes=3)
    classifier = dict(
        type='mmpretrain.ImageClassifier',
        backbone=copy.deepcopy(VIT),
        head=dict(head, in_channels=DIMS),
    )
    model = MODELS.build(dict(type='mmdmlora.LoRAModel', module=classifier)).double()
    expected = flops(copy.deepcopy(model.train()), as_stock)
    assert expected - flops(model) >= 2 * SPARED


def test_evaluation_and_copies_are_plain():
    model = build()
    with pytest.raises(RuntimeError):
        model(torch.ones(BATCH, 4, 32, 32).double())
    step(model)
    assert type(model.module.layers[-1]) is TransformerEncoderLayer
    seen = []
    forward = TransformerEncoderLayer.forward
    model.eval()
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            TransformerEncoderLayer,
            'forward',
            lambda self, x: seen.append(forward(self, x)) or seen[-1],
        )
        model(images())
    assert [out.shape for out in seen] == 2 * [(BATCH, TOKENS, DIMS)]

"""Owners that read the weight of an adapted layer and don't run it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn

from mmdmlora.models.weight_readers import find_reader
from mmdmlora.registry import MODELS
from tests.tiny import drawn_parameters, randomize

VIT = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)
TIMM = dict(
    type='mmpretrain.TIMMBackbone',
    img_size=32,
    patch_size=8,
    embed_dim=24,
    depth=2,
    num_heads=2,
)
IMAGES = (2, 3, 32, 32)
TOKENS = (2, 5, 16)


class Encoder(BaseModule):
    """PyTorch's own layers, with their fast path in evaluation."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x):
        return (self.encoder(x),)


class Reader(BaseModule):
    """An owner that runs its layer or reads the weight."""

    def __init__(self, mode='run'):
        super().__init__()
        self.mode = mode
        self.fc = nn.Linear(16, 16)

    def forward(self, x):
        if self.mode == 'run':
            return (self.fc(x),)
        return (self.read(x),)

    def read(self, x):
        return F.linear(x, self.fc.weight, self.fc.bias)


class Hidden(BaseModule):
    """Reads in a way that its source doesn't show."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 16)

    def forward(self, x):
        layer = self.fc
        return (F.linear(x, layer.weight, layer.bias),)


READERS = dict(
    beit=(
        dict(type='mmpretrain.BEiTViT', arch=VIT, img_size=32, patch_size=8),
        r'.*qkv',
        IMAGES,
    ),
    swinv2=(
        dict(
            type='mmpretrain.SwinTransformerV2',
            arch=dict(
                embed_dims=12,
                depths=[2, 2],
                num_heads=[2, 4],
                extra_norm_every_n_blocks=0,
            ),
            img_size=32,
            window_size=4,
            out_indices=(1,),
            pretrained_window_sizes=[0, 0],
            drop_path_rate=0.0,
        ),
        r'.*qkv',
        IMAGES,
    ),
    timm_beit=(dict(TIMM, model_name='beit_base_patch16_224'), r'.*qkv', IMAGES),
    timm_eva=(dict(TIMM, model_name='eva02_tiny_patch14_224'), r'.*qkv', IMAGES),
    encoder=(dict(type='Encoder'), 'linear1', TOKENS),
    out_proj=(dict(type='Encoder'), 'self_attn.out_proj', TOKENS),
    own=(dict(type='Reader', mode='read'), 'fc', TOKENS),
)
readers = pytest.mark.parametrize('name', READERS)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(MODELS, '_module_dict', dict(MODELS.module_dict))
    MODELS.register_module(module=Encoder)
    MODELS.register_module(module=Reader)


def wrap(name, method, **options):
    torch.manual_seed(0)
    config, target, shape = READERS[name]
    options.setdefault('targets', [dict(type=target)])
    model = MODELS.build(
        dict(type=f'mmdmlora.{method}', module=copy.deepcopy(config), **options)
    )
    return model, torch.randn(shape, generator=torch.Generator().manual_seed(1))


@readers
@pytest.mark.parametrize('method', ['LoRAModel', 'DMLoRAModel'])
@pytest.mark.parametrize('grad', [True, False])
def test_what_is_read_is_the_adapted_weight(name, method, grad):
    options = dict(num_branches=3) if method == 'DMLoRAModel' else {}
    model, x = wrap(name, method, rank=2, learn_scale=True, scale=3.0, **options)
    before = model.eval()(x)[-1].detach()
    randomize(model)
    with torch.set_grad_enabled(grad):
        expected = model(x)[-1]
        merged = model.merge()
        merged.eval()
        got = merged(x)[-1]
    assert (expected - before).abs().max() > 1e-3
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@readers
def test_what_is_drawn_is_read_and_learns(name):
    model, x = wrap(name, 'DMLoRAModel', rank=2, num_branches=3, learn_scale=True, seed=1)
    randomize(model)
    model.train()
    out = model(x)[-1]
    (out * torch.randn(out.shape)).sum().backward()
    learning = {n for n, p in model.named_parameters() if p.grad is not None}
    scales = {n for n in learning if n.endswith('log_scale')}
    assert len(scales) == len(model.adapters)
    assert learning - scales == drawn_parameters(model)
    single = copy.deepcopy(model)
    for key, ((i, j),) in model.draws.drawn().items():
        adapter = single.adapters[key]
        for branches, index in ((adapter.down, i), (adapter.up, j)):
            for branch in branches:
                branch.data.copy_(branches[index].data)
    torch.testing.assert_close(single.eval()(x)[-1], out, atol=1e-5, rtol=1e-5)


def test_reading_has_the_gradients_of_running():
    gradients = []
    options = dict(rank=2, num_branches=2, learn_scale=True, seed=3)
    for mode in ('run', 'read'):
        model, x = wrap('own', 'DMLoRAModel', **options)
        model.module.mode = mode
        randomize(model)
        model.train()(x)[-1].square().sum().backward()
        gradients.append([p.grad for p in model.trainable_parameters()])
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other)


@readers
@pytest.mark.parametrize(
    'method, options, reason',
    [
        ('RepAdapterModel', dict(dim=2), 'is not a weight'),
        ('AdapterModel', dict(dim=2), 'is not a weight'),
        ('LoRAModel', dict(rank=2, drop_rate=0.1), 'dropout'),
        ('DMLoRAModel', dict(rank=2, draws='sample'), 'each image'),
    ],
)
def test_what_is_no_weight_is_refused_before_training(name, method, options, reason):
    with pytest.raises(ValueError, match=f'its owner, a .*, reads the weight.*{reason}'):
        wrap(name, method, **options)


@pytest.mark.parametrize(
    'method, options, mode',
    [
        ('RepAdapterModel', dict(dim=2), False),
        ('AdapterModel', dict(dim=2), True),
        ('LoRAModel', dict(rank=2, drop_rate=0.1), True),
        ('DMLoRAModel', dict(rank=2, draws='sample'), True),
    ],
)
def test_a_reader_that_is_not_recognised_is_told(method, options, mode):
    MODELS.register_module(module=Hidden)
    model = MODELS.build(
        dict(
            type=f'mmdmlora.{method}',
            module=dict(type='Hidden'),
            targets=[dict(type='fc')],
            **options,
        )
    ).train(mode)
    with pytest.raises(RuntimeError, match="'fc' can not be adapted .* owner reads the"):
        model(torch.randn(TOKENS))


class Grandparent(nn.Module):
    """Reads below its children, in a property."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Harmless(), Harmless()])

    @property
    def first(self):
        return self.blocks[0].fc.weight

    def forward(self, x):
        return F.linear(x, self.first)


class Harmless(nn.Module):
    """Reads the weight where it is built only."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.reset()

    def reset(self):
        nn.init.zeros_(self.fc.weight)

    def forward(self, x):
        return self.fc(x)


def test_readers_are_found_at_any_depth():
    assert find_reader(Grandparent(), 'blocks.0.fc') == 'Grandparent'
    assert find_reader(Harmless(), 'fc') == ''
    layer = nn.TransformerEncoderLayer(8, 2)
    assert find_reader(layer, 'self_attn.out_proj') == 'MultiheadAttention'
    assert find_reader(layer, 'linear2') == 'TransformerEncoderLayer'


def test_constants_are_the_layers():
    model, _ = wrap('own', 'LoRAModel', rank=2)
    layer = model.module.fc
    assert (layer.in_features, layer.out_features) == (16, 16)
    assert not hasattr(layer, 'reset_parameters')


class Conditional(nn.Module):
    """Reads where it has a bias of its own, and in evaluation."""

    def __init__(self, bias):
        super().__init__()
        self.fc, self.other, self.third = (nn.Linear(4, 4) for _ in range(3))
        self.own_bias = nn.Parameter(torch.zeros(4)) if bias else None
        self.reads = bias

    def forward(self, x):
        if self.own_bias is None:
            x = self.fc(x)
        else:
            x = F.linear(x, self.fc.weight, self.own_bias)
        if not self.reads:
            x = self.other(x)
        else:
            x = F.linear(x, self.other.weight) + len(self.__dict__)
        if self.training:
            return self.third(x)
        return F.linear(x, self.third.weight)


@pytest.mark.parametrize('bias', [True, False])
def test_branches_that_settings_rule_out_do_not_count(bias):
    model = Conditional(bias)
    expected = 'Conditional' if bias else ''
    assert find_reader(model, 'fc') == find_reader(model, 'other') == expected
    for mode in (True, False):
        assert find_reader(model.train(mode), 'third') == 'Conditional'


def test_the_same_attention_is_adapted_where_it_runs_its_layer():
    """timm's EVA attention reads only if it has biases of its own; DINOv3's hasn't."""
    config = dict(TIMM, model_name='vit_small_patch16_dinov3')
    model = MODELS.build(
        dict(type='mmdmlora.LoRAModel', module=config, rank=2, drop_rate=0.1)
    ).train()
    model(torch.randn(IMAGES))[-1].sum().backward()
    assert all(p.grad is not None for p in model.trainable_parameters())

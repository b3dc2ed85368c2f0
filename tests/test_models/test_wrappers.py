"""What holds for every wrapper on every backbone: the contracts."""

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmpretrain.registry import MODELS as STOCK
from torch import nn

from mmdmlora.models import find_wrappers, merge_model
from mmdmlora.registry import MODELS
from tests.sweep.mmpretrain import MMPRETRAIN
from tests.tiny import (
    BACKBONES,
    assert_starts_as,
    check_trains_exactly,
    classifier_config,
    features,
    images,
    plain,
    randomize,
    train_steps,
    wrapped,
)

LOW_RANK = {
    'LoRAModel': dict(rank=2, learn_scale=True),
    'DMLoRAModel': dict(rank=2, num_branches=2, learn_scale=True),
}
everywhere = pytest.mark.parametrize('backbone', BACKBONES)
both = pytest.mark.parametrize('method', LOW_RANK)


def build(method, backbone='vit', **options):
    return wrapped(method, backbone, **LOW_RANK.get(method, {}), **options)


@everywhere
@pytest.mark.parametrize(
    'method',
    [
        *LOW_RANK,
        'RepAdapterModel',
        'BitFitModel',
        'LinearProbeModel',
        'FullFinetuneModel',
    ],
)
@pytest.mark.parametrize('mode', [True, False])
def test_starts_as_the_backbone(method, backbone, mode):
    model = build(method, backbone)
    model.train(mode)
    assert_starts_as(plain(backbone, mode), model)


@everywhere
@both
def test_trains_all_of_the_adapters_and_nothing_else(method, backbone):
    model = build(method, backbone)
    adapters = {id(p) for a in model.adapters.values() for p in a.parameters()}
    assert {id(p) for p in model.trainable_parameters()} == adapters
    check_trains_exactly(model, 24, weight_decay=0.05)


@pytest.mark.parametrize(
    'backbone, number, example',
    [
        ('vit', 4, 'layers.0.attn.qkv.q'),
        ('timm', 4, 'timm_model.blocks.1.attn.qkv.v'),
        ('swin', 8, 'stages.0.blocks.0.attn.w_msa.qkv.q'),
        ('convnext', 4, 'stages.2.0.pointwise_conv1'),
        ('convnext_conv', 4, 'stages.2.0.pointwise_conv1'),
    ],
)
def test_default_targets_are_the_papers(backbone, number, example):
    model = build('DMLoRAModel', backbone)
    assert len(model.adapters) == number
    assert example in model.adapters
    path = example.removesuffix('.q').removesuffix('.v')
    assert hasattr(model.module.get_submodule(path), 'original')


@everywhere
@both
def test_merged_classifier_is_stock_and_equal(method, backbone):
    torch.manual_seed(0)
    config = classifier_config(
        backbone, dict(type=f'mmdmlora.{method}', **LOW_RANK[method])
    )
    model = MODELS.build(config)
    model.init_weights()
    frozen = wrapped('LinearProbeModel', backbone).module
    frozen.load_state_dict(
        {
            k.replace('.original.', '.'): v
            for k, v in model.backbone.module.state_dict().items()
            if '.adapters.' not in k
        }
    )
    randomize(model.backbone)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    model.eval()
    merged = merge_model(model)
    with torch.no_grad():
        logits = model(images(), mode='tensor')
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert not find_wrappers(merged)
    stock = STOCK.build(classifier_config(backbone))
    stock.load_state_dict(merged.state_dict(), strict=True)
    stock.eval()
    with torch.no_grad():
        got = stock(images(), mode='tensor')
        unmerged = STOCK.build(classifier_config(backbone))
        unmerged.load_state_dict(merged.state_dict())
        unmerged.backbone = frozen
        unmerged.eval()
        assert (unmerged(images(), mode='tensor') - logits).abs().max() > 1e-3
    assert (got - logits).abs().max() < 1e-5
    merged_again = merge_model(model).state_dict()
    for name, tensor in merged.state_dict().items():
        assert torch.equal(tensor, merged_again[name])


@both
def test_merge_after_more_training_is_not_stale(method):
    model = build(method)
    model.eval()
    with torch.no_grad():
        first, merged_first = features(model, images()), model.merge()
    train_steps(model, 6)
    model.eval()
    with torch.no_grad():
        second = features(model, images())
        merged = model.merge()
        merged.eval()
        assert (second - first).abs().max() > 1e-3
        assert (features(merged, images()) - second).abs().max() < 1e-5
        merged_first.eval()
        assert (features(merged_first, images()) - first).abs().max() < 1e-5


@everywhere
@both
def test_state_holds_the_adapters_and_rebuilds_the_model(method, backbone):
    model = build(method, backbone)
    randomize(model)
    train_steps(model, 3)
    if method == 'DMLoRAModel':
        model.prune_branches(1)
    state = copy.deepcopy(model.state_dict())
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained <= set(state) and not frozen & set(state)
    rebuilt = build(method, backbone)
    rebuilt.load_state_dict(state, strict=True)
    for module in (model, rebuilt):
        module.eval()
    assert torch.equal(features(rebuilt, images()), features(model, images()))
    if method == 'DMLoRAModel':
        assert rebuilt.num_branches == 1


class TwoWrappers(nn.Module):
    """A neck with a name like an adapter's, and two wrappers."""

    def __init__(self):
        super().__init__()
        self.module = nn.Linear(2, 2)
        self.one = build('DMLoRAModel')
        self.lora_neck = nn.BatchNorm1d(3)
        self.two = build('LoRAModel')


def test_other_modules_keep_their_keys():
    model = TwoWrappers()
    state = model.state_dict()
    assert {'module.weight', 'lora_neck.running_mean', 'lora_neck.weight'} <= set(state)
    expected = {f'one.{k}' for k in model.one.state_dict()}
    expected |= {f'two.{k}' for k in model.two.state_dict()}
    assert {k for k in state if k.startswith(('one.', 'two.'))} == expected
    other = TwoWrappers()
    randomize(other.one)
    result = other.load_state_dict(state, strict=True)
    assert not result.missing_keys and not result.unexpected_keys
    assert torch.equal(other.module.weight, model.module.weight)
    missing = {k: v for k, v in state.items() if k != 'lora_neck.weight'}
    assert other.load_state_dict(missing, strict=False).missing_keys == [
        'lora_neck.weight'
    ]


def test_average_keeps_its_buffers_and_follows_pruning():
    model = build('DMLoRAModel')
    average = ExponentialMovingAverage(model, momentum=0.5)
    assert 'steps' in average.state_dict()
    randomize(model)
    average.update_parameters(model)
    model.prune_branches(1)
    average.update_parameters(model)
    reloaded = ExponentialMovingAverage(build('DMLoRAModel'), momentum=0.5)
    reloaded.load_state_dict(average.state_dict(), strict=True)
    assert int(reloaded.steps) == 2
    for a, b in zip(
        average.module.adapters.values(), reloaded.module.adapters.values(), strict=True
    ):
        assert a.active() == b.active()
        torch.testing.assert_close(a.delta_weight(), b.delta_weight())
    assert average.module.adapters.keys() == model.adapters.keys()
    for a, b in zip(
        average.module.adapters.values(), model.adapters.values(), strict=True
    ):
        assert a.active() == b.active()


def refused(state: dict, message: str, model) -> None:
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=message):
        model.load_state_dict(state, strict=False)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), f'{name} changed'


@pytest.mark.parametrize(
    'other, message',
    [
        (dict(rank=3), 'has shape'),
        (dict(num_branches=3), 'unknown here'),
        (dict(targets=[dict(type='attn.proj')]), 'missing'),
        (dict(seed=5), 'another frozen backbone'),
        (dict(backbone='swin'), 'missing'),
    ],
)
def test_state_of_another_model_is_refused(other, message):
    options = dict(LOW_RANK['DMLoRAModel'], **other)
    refused(wrapped('DMLoRAModel', **options).state_dict(), message, build('DMLoRAModel'))


def test_state_of_another_method_or_a_plain_backbone_is_refused():
    refused(build('LoRAModel').state_dict(), 'missing', build('DMLoRAModel'))
    refused(build('DMLoRAModel').state_dict(), 'unknown here', build('LoRAModel'))
    plain = STOCK.build(BACKBONES['vit']).state_dict()
    plain = {f'backbone.{name}': tensor for name, tensor in plain.items()}
    classifier = nn.Module()
    classifier.backbone = build('LoRAModel')
    refused(plain, 'belongs into the backbone', classifier)


def test_one_changed_frozen_tensor_is_found_and_half_precision_is_not():
    model = build('LoRAModel')
    state = model.state_dict()
    halved = build('LoRAModel').half()
    halved.load_state_dict(state)
    changed = build('LoRAModel')
    with torch.no_grad():
        changed.module.layers[1].ffn.layers[1].bias += 0.5
    refused(state, r'layers.1.ffn.layers.1.bias', changed)


def test_parameters_that_the_user_unfreezes_are_saved():
    model = build('LoRAModel')
    model.module.ln1.requires_grad_(True)
    state = model.state_dict()
    assert 'module.ln1.weight' in state
    with torch.no_grad():
        model.module.ln1.weight.fill_(2)
    other = build('LoRAModel')
    other.module.ln1.requires_grad_(True)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.module.ln1.weight, model.module.ln1.weight)


def test_frozen_batch_norm_keeps_its_statistics():
    config = dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8)
    model = MODELS.build(dict(type='mmdmlora.LinearProbeModel', module=config))
    model.train()
    before = {n: b.clone() for n, b in model.named_buffers()}
    model(images())
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_summary_counts():
    model = wrapped('LoRAModel', rank=2)
    trained = 4 * 2 * (24 + 24)
    total = sum(p.numel() for p in model.parameters())
    assert f'trains {trained:,} of {total:,} parameters' in model.summary()
    assert sum(p.numel() for p in model.trainable_parameters()) == trained


def test_published_count_on_vit_b16():
    config = dict(type='mmpretrain.VisionTransformer', arch='b', img_size=224)
    with torch.device('meta'):
        model = MODELS.build(dict(type='mmdmlora.LoRAModel', module=config, rank=8))
    assert sum(p.numel() for p in model.trainable_parameters()) == 294_912


def test_wrapper_shows_the_backbones_attributes():
    model = build('DMLoRAModel')
    assert model.embed_dims == 24
    assert model.train() is model and model.eval() is model
    with pytest.raises(AttributeError, match='nonsense'):
        _ = model.nonsense


def test_initialising_the_model_around_leaves_the_wrapper_alone():
    config = classifier_config('swin', dict(type='mmdmlora.DMLoRAModel', rank=2))
    model = MODELS.build(config)
    before = {n: p.clone() for n, p in model.backbone.named_parameters()}
    model.init_weights()
    for name, parameter in model.backbone.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_an_outer_init_cfg_that_overwrites_the_backbone_is_refused():
    """As in mmpretrain's base configs of Swin and ConvNeXt."""
    config = classifier_config('swin', dict(type='mmdmlora.DMLoRAModel', rank=2))
    config['init_cfg'] = [dict(type='TruncNormal', layer='Linear', std=0.02)]
    with pytest.raises(ValueError, match='set model.init_cfg=None'):
        MODELS.build(config).init_weights()


@both
def test_a_backbone_that_drops_tables_when_it_loads_is_loaded_strictly(method):
    """SwinTransformerV2 can't even load its own state strictly."""
    config = MMPRETRAIN['SwinTransformerV2'].config

    def surrounded():
        torch.manual_seed(0)
        return nn.ModuleDict(
            dict(
                backbone=MODELS.build(
                    dict(
                        type=f'mmdmlora.{method}',
                        module=copy.deepcopy(config),
                        **LOW_RANK[method],
                    )
                ),
                head=nn.Linear(24, 2),
            )
        )

    model, other = surrounded(), surrounded()
    randomize(model.backbone)
    state = model.state_dict()
    other.load_state_dict(state, strict=True)
    for module in (model, other):
        module.eval()
    expected = features(model.backbone, images())
    assert torch.equal(features(other.backbone, images()), expected)
    del state['head.bias']
    with pytest.raises(RuntimeError, match=r'Missing key\(s\).*: "head.bias"\.'):
        other.load_state_dict(state, strict=True)

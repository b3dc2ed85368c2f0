"""frozen_stages means the same on every backbone, and train() can't change it."""

import copy

import pytest
import torch
from mmpretrain.models.backbones import EfficientFormer
from mmpretrain.registry import MODELS as STOCK
from torch import nn

from mmdmlora.models.freezing import trained_names
from mmdmlora.registry import MODELS
from tests.sweep.mmpretrain import MMPRETRAIN
from tests.tiny import (
    CONVNEXT,
    SWIN,
    VIT,
    check_trains_exactly,
    drawn_parameters,
    images,
)

RESNET = dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8)
BACKBONES = dict(
    vit=dict(VIT, frozen_stages=1),
    swin=dict(SWIN, frozen_stages=0),
    swin_v2=dict(MMPRETRAIN['SwinTransformerV2'].config, frozen_stages=0),
    convnext=dict(CONVNEXT, frozen_stages=2),
    beit=dict(MMPRETRAIN['BEiTViT'].config, frozen_stages=1),
    davit=dict(MMPRETRAIN['DaViT'].config, frozen_stages=1),
    edgenext=dict(MMPRETRAIN['EdgeNeXt'].config, frozen_stages=2),
    xcit=dict(MMPRETRAIN['XCiT'].config, frozen_stages=1),
    resnet=dict(RESNET, frozen_stages=2),
    none=dict(SWIN),
)
INSERTING = {
    'LoRAModel': dict(rank=1),
    'DMLoRAModel': dict(rank=1, num_branches=3, seed=0),
}
backbones = pytest.mark.parametrize('name', BACKBONES)


def wrap(method, name, **options):
    config = copy.deepcopy(BACKBONES[name])
    return MODELS.build(dict(type=f'mmdmlora.{method}', module=config, **options))


def stock_trains(name):
    stock = STOCK.build(copy.deepcopy(BACKBONES[name]))
    stock.train()
    return {n for n, p in stock.named_parameters() if p.requires_grad}


def trained(model):
    return {n for n, p in model.named_parameters() if p.requires_grad}


def check_kept(model):
    """Neither mode changes what is trained, and the summary stays true."""
    announced, summary = trained(model), model.summary()
    for mode in (True, False, True):
        model.train(mode)
        assert trained(model) == announced
        assert model.summary() == summary


@pytest.mark.parametrize('name', [name for name in BACKBONES if name != 'resnet'])
@pytest.mark.parametrize('method', INSERTING)
def test_adapters_are_trained_in_frozen_stages_too(name, method):
    model = wrap(method, name, **INSERTING[method])
    inserted = {id(p) for a in model.adapters.values() for p in a.parameters()}
    assert {id(p) for p in model.trainable_parameters()} == inserted
    check_kept(model)
    for adapter in model.adapters.values():
        assert adapter.training
    model.eval()
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize('name', ['vit', 'swin', 'convnext', 'none'])
@pytest.mark.parametrize(
    'method, options',
    [
        ('DMLoRAModel', dict(rank=1, num_branches=2)),
        ('RepAdapterModel', dict(dim=2, drop_rate=0.0)),
        ('AdapterModel', dict(dim=2)),
    ],
)
def test_adapters_of_frozen_stages_learn(name, method, options):
    if 'Rep' in method and name == 'convnext':
        options = dict(options, targets=[dict(type='pointwise_conv1')])
    check_trains_exactly(wrap(method, name, **options), 20)


def test_branches_of_frozen_stages_are_drawn():
    model = wrap('DMLoRAModel', 'swin', rank=1, num_branches=4, seed=1).train()
    model(images())[-1].square().sum().backward()
    learning = {n for n, p in model.named_parameters() if p.grad is not None}
    assert learning == drawn_parameters(model)


@backbones
def test_full_fine_tuning_trains_what_the_stock_backbone_does(name):
    model = wrap('FullFinetuneModel', name)
    expected = stock_trains(name)
    assert trained(model) == {f'module.{n}' for n in expected}
    assert (name == 'none') == (len(expected) == len([*model.module.parameters()]))
    check_kept(model)


@backbones
def test_bitfit_trains_biases_of_what_the_stock_backbone_does(name):
    model = wrap('BitFitModel', name)
    biases = {n for n in stock_trains(name) if n.split('.')[-1].endswith('bias')}
    assert trained(model) == {f'module.{n}' for n in biases}
    check_kept(model)


@pytest.mark.parametrize('method', ['FullFinetuneModel', 'BitFitModel'])
def test_a_backbone_that_freezes_all_is_refused(method):
    config = dict(RESNET, frozen_stages=4)
    with pytest.raises(ValueError, match='freezes all of'):
        MODELS.build(dict(type=f'mmdmlora.{method}', module=config))


def statistics(model):
    return {n: b.clone() for n, b in model.named_buffers() if 'running' in n}


def test_full_fine_tuning_keeps_statistics_of_frozen_stages_only():
    model = wrap('FullFinetuneModel', 'resnet').train()
    before = statistics(model)
    model(images())
    for name, value in statistics(model).items():
        is_frozen = name.startswith(('module.bn1', 'module.layer1', 'module.layer2'))
        assert torch.equal(value, before[name]) == is_frozen, name


class Normed(nn.Module):
    """Normalisations with running statistics, with and without parameters."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Conv2d(3, 4, 1)
        self.norms = nn.Sequential(
            nn.BatchNorm2d(4),
            nn.BatchNorm2d(4, affine=False),
            nn.InstanceNorm2d(4, track_running_stats=True),
            nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
            nn.SyncBatchNorm(4),
        )

    def init_weights(self):
        pass

    def forward(self, x):
        return (self.norms[:-1](self.fc(x)),)


@pytest.mark.parametrize(
    'method, options, changes',
    [
        ('LinearProbeModel', {}, False),
        ('LoRAModel', dict(rank=1, targets=[dict(type='fc')]), False),
        ('BitFitModel', {}, False),
        ('FullFinetuneModel', {}, True),
    ],
)
def test_running_statistics_are_frozen_with_the_backbone(
    method, options, changes, monkeypatch
):
    monkeypatch.setattr(MODELS, '_module_dict', dict(MODELS.module_dict))
    MODELS.register_module(module=Normed)
    model = MODELS.build(
        dict(type=f'mmdmlora.{method}', module=dict(type='Normed'), **options)
    ).train()
    before = statistics(model)
    model(images())
    assert any('norms.2.running' in name for name in before)
    for name, value in statistics(model).items():
        if 'norms.4' not in name:
            assert torch.equal(value, before[name]) != changes, name


def test_what_the_user_unfreezes_or_freezes_stays_so():
    model = wrap('LoRAModel', 'swin', rank=1)
    model.module.stages[0].requires_grad_(True)
    model.module.patch_embed.projection.bias.requires_grad_(True)
    for parameter in next(iter(model.adapters.values())).parameters():
        parameter.requires_grad_(False)
    check_kept(model)


def test_asking_leaves_modes_and_caches_alone():
    config = dict(MMPRETRAIN['EfficientFormer'].config)
    del config['type']
    backbone = EfficientFormer(**config)
    backbone.eval()
    backbone.network[0].train()
    modes = [module.training for module in backbone.modules()]
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        before = backbone(x)[0]
        assert len(trained_names(backbone)) == len([*backbone.parameters()])
        assert [module.training for module in backbone.modules()] == modes
        assert torch.equal(backbone(x)[0], before)

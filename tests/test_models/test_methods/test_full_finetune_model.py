"""Full fine-tuning: everything trains, is saved, and is guarded before training."""

import copy

import pytest
import torch
from mmpretrain.registry import MODELS as STOCK

from mmdmlora.models import merge_model
from mmdmlora.models.methods.full_finetune_model import FullFinetuneModel
from mmdmlora.registry import MODELS
from tests.tiny import (
    BACKBONES,
    check_trains_exactly,
    classifier_config,
    features,
    images,
    train_steps,
    wrapped,
)

RESNET = dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8)
FULL = dict(type='mmdmlora.FullFinetuneModel')
everywhere = pytest.mark.parametrize('backbone', BACKBONES)


def build(backbone='vit') -> FullFinetuneModel:
    return wrapped('FullFinetuneModel', backbone)


def resnet(seed=0, **options) -> FullFinetuneModel:
    torch.manual_seed(seed)
    return MODELS.build(dict(FULL, module=dict(RESNET, **options)))


@everywhere
def test_trains_everything(backbone):
    model = build(backbone)
    assert all(p.requires_grad for p in model.parameters())
    stock = STOCK.build(copy.deepcopy(BACKBONES[backbone])).state_dict()
    names = {f'module.{name}' for name in stock}
    assert set(model.state_dict()) == names | {'backbone_fingerprint'}
    check_trains_exactly(model, 6, weight_decay=0.0)


@everywhere
def test_state_rebuilds_the_model(backbone):
    model = build(backbone)
    train_steps(model, 6)
    rebuilt = wrapped('FullFinetuneModel', backbone, seed=7)
    for module in (model, rebuilt):
        module.eval()
    assert not torch.equal(features(rebuilt, images()), features(model, images()))
    rebuilt.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(features(rebuilt, images()), features(model, images()))


@everywhere
def test_merged_classifier_is_stock_and_equal(backbone):
    torch.manual_seed(0)
    model = MODELS.build(classifier_config(backbone, FULL))
    model.init_weights()
    start = merge_model(model)
    train_steps(model.backbone, 6)
    model.eval()
    stock = STOCK.build(classifier_config(backbone))
    stock.load_state_dict(merge_model(model).state_dict(), strict=True)
    stock.eval()
    with torch.no_grad():
        logits = model(images(), mode='tensor')
        assert torch.equal(stock(images(), mode='tensor'), logits)
        assert (start(images(), mode='tensor') - logits).abs().max() > 1e-3


def test_batch_norms_train_and_their_statistics_are_saved():
    model = resnet()
    before = {n: t.clone() for n, t in model._full_state().items()}
    train_steps(model, 3)
    state = model.state_dict()
    assert set(state) == {*before, 'backbone_fingerprint'}
    assert state['module.bn1.num_batches_tracked'] == 3
    for name, tensor in before.items():
        assert not torch.equal(state[name], tensor), name
    other = resnet(seed=7)
    other.load_state_dict(state, strict=True)
    for module in (model, other):
        module.eval()
    assert torch.equal(features(other, images()), features(model, images()))


def test_the_backbones_norm_eval_keeps_the_statistics():
    model = resnet(norm_eval=True)
    before = {n: b.clone() for n, b in model.named_buffers()}
    train_steps(model, 2)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_a_state_that_lacks_a_buffer_or_a_weight_is_refused():
    for name in ('module.bn1.running_mean', 'module.conv1.weight'):
        state = resnet().state_dict()
        del state[name]
        with pytest.raises(ValueError, match=f'{name} is missing'):
            resnet().load_state_dict(state)
    with pytest.raises(ValueError, match='missing'):
        build().load_state_dict(wrapped('LinearProbeModel').state_dict())


def test_an_outer_init_cfg_that_overwrites_the_backbone_is_refused():
    """It would train from scratch, in silence."""
    config = classifier_config('swin', FULL)
    config['init_cfg'] = [dict(type='TruncNormal', layer='Linear', std=0.02)]
    with pytest.raises(ValueError, match='set model.init_cfg=None'):
        MODELS.build(config).init_weights()


def test_initialising_after_loading_keeps_what_was_loaded():
    trained = build()
    train_steps(trained, 2)
    model = build()
    model.load_state_dict(trained.state_dict())
    model.init_weights()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, trained.get_parameter(name)), name


def test_builds_on_the_meta_device():
    config = dict(type='mmpretrain.VisionTransformer', arch='b', img_size=224)
    with torch.device('meta'):
        model = MODELS.build(dict(FULL, module=config))
    model.init_weights()
    assert sum(p.numel() for p in model.trainable_parameters()) == 85_798_656

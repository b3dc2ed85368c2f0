"""BitFit: which tensors it trains, saves and merges."""

import pytest
import torch
from mmpretrain.registry import MODELS as STOCK
from torch import nn

from mmdmlora.models import merge_model
from mmdmlora.models.methods.bitfit_model import BitFitModel
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

LINEAR = ['attn.qkv', 'attn.proj', 'ln1', 'ln2', 'ffn.layers.0.0', 'ffn.layers.1']
WINDOWED = ['attn.w_msa.qkv', 'attn.w_msa.proj', 'norm1', 'norm2', *LINEAR[-2:]]
TIMM = ['attn.qkv', 'attn.proj', 'norm1', 'norm2', 'mlp.fc1', 'mlp.fc2']
CONV = ['depthwise_conv', 'norm', 'pointwise_conv1', 'pointwise_conv2']
CONVNEXT = [f'stages.{i}.0.{name}' for i in range(4) for name in CONV]
CONVNEXT += [f'downsample_layers.{i}.{j}' for i in range(4) for j in range(2)]
# For each backbone the layers whose bias is trained.
BIASED = dict(
    vit=['patch_embed.projection', 'ln1']
    + [f'layers.{i}.{name}' for i in range(2) for name in LINEAR],
    swin=['patch_embed.projection', 'patch_embed.norm', 'stages.0.downsample.norm']
    + [f'stages.{i // 2}.blocks.{i % 2}.{n}' for i in range(4) for n in WINDOWED]
    + ['norm1'],
    convnext=[*CONVNEXT, 'norm3'],
    convnext_conv=[*CONVNEXT, 'norm3'],
    timm=['timm_model.patch_embed.proj', 'timm_model.norm']
    + [f'timm_model.blocks.{i}.{name}' for i in range(2) for name in TIMM],
)
RESNET = dict(
    type='mmpretrain.ResNet',
    depth=18,
    base_channels=8,
    stem_channels=8,
    zero_init_residual=False,  # else nothing reaches the biases of the residual branch
)
everywhere = pytest.mark.parametrize('backbone', BACKBONES)


def build(backbone='vit') -> BitFitModel:
    return wrapped('BitFitModel', backbone)


@MODELS.register_module()
class BiasFree(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(3, 3, bias=False))

    def init_weights(self):
        pass


@MODELS.register_module()
class OtherNames(BiasFree):
    """Biases as attentions name them, and a table that is no bias vector."""

    def __init__(self):
        super().__init__()
        for name in ('q_bias', 'in_proj_bias', 'relative_position_bias_table'):
            self.register_parameter(name, nn.Parameter(torch.zeros(3)))


@everywhere
def test_trains_the_biases_and_nothing_else(backbone):
    model = build(backbone)
    biases = {f'module.{name}.bias' for name in BIASED[backbone]}
    assert {n for n, p in model.named_parameters() if p.requires_grad} == biases
    assert set(model.state_dict()) == biases | {'backbone_fingerprint'}
    assert not model.adapters
    check_trains_exactly(model, 6, weight_decay=0.0)


@everywhere
def test_state_rebuilds_the_model(backbone):
    model = build(backbone)
    train_steps(model, 6)
    rebuilt = build(backbone)
    for module in (model, rebuilt):
        module.eval()
    assert not torch.equal(features(rebuilt, images()), features(model, images()))
    rebuilt.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(features(rebuilt, images()), features(model, images()))


@everywhere
def test_merged_classifier_is_stock_and_equal(backbone):
    torch.manual_seed(0)
    config = classifier_config(backbone, dict(type='mmdmlora.BitFitModel'))
    model = MODELS.build(config)
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
        assert (start(images(), mode='tensor') - logits).abs().max() > 1e-4


def test_batch_norms_train_their_bias_and_keep_their_statistics():
    torch.manual_seed(0)
    model = MODELS.build(dict(type='mmdmlora.BitFitModel', module=RESNET))
    before = {n: t.clone() for n, t in model._full_state().items()}
    train_steps(model, 6, weight_decay=0.0)
    assert not any(m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    for name, tensor in model._full_state().items():
        assert torch.equal(tensor, before[name]) != name.endswith('bias'), name


def test_biases_are_known_by_their_names():
    model = MODELS.build(
        dict(type='mmdmlora.BitFitModel', module=dict(type='OtherNames'))
    )
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {'module.q_bias', 'module.in_proj_bias'}


def test_a_backbone_without_biases_is_refused():
    with pytest.raises(ValueError, match='BiasFree has no bias'):
        MODELS.build(dict(type='mmdmlora.BitFitModel', module=dict(type='BiasFree')))


def test_count_on_vit_b16():
    config = dict(type='mmpretrain.VisionTransformer', arch='b', img_size=224)
    with torch.device('meta'):
        model = MODELS.build(dict(type='mmdmlora.BitFitModel', module=config))
    trained = sum(p.numel() for p in model.trainable_parameters())
    assert trained == 12 * (3 + 1 + 4 + 1 + 2) * 768 + 2 * 768

"""Classifiers of timm by config: their own pooling, targets, head and normalisation."""

import copy

import pytest
import timm
import torch
from mmengine.config import Config
from mmpretrain.models import TimmClassifier as Stock
from torch import nn

from mmdmlora.apis.compose import load_config
from mmdmlora.apis.locations import config_root
from mmdmlora.engine.export import stock_config
from mmdmlora.models import merge_model
from mmdmlora.registry import MODELS
from tests.tiny import randomize

VIT = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2)
SMALL = {
    'vit_tiny_patch16_224': VIT,
    'deit_tiny_distilled_patch16_224': VIT,
    'swin_tiny_patch4_window7_224': dict(
        img_size=64, window_size=2, embed_dim=12, depths=(1, 1), num_heads=(1, 2)
    ),
    'convnext_atto': dict(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)),
}
DMLORA = dict(type='mmdmlora.DMLoRAModel', rank=2, num_branches=2)


def images(name: str) -> torch.Tensor:
    size = SMALL[name].get('img_size', 32)
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))


def build(name: str, **options) -> nn.Module:
    config = dict(type='TimmClassifier', model_name=name, num_classes=3, method=DMLORA)
    return MODELS.build(dict(config, pretrained=False, **SMALL[name]) | options)


@pytest.mark.parametrize('name', SMALL)
def test_file_pooling_training_and_merging(name, tmp_path):
    net = timm.create_model(name, num_classes=7, **SMALL[name]).eval()
    file = tmp_path / 'net.pth'
    torch.save(net.state_dict(), file)
    model = build(name, init_cfg=dict(type='Pretrained', checkpoint=str(file))).eval()
    x = images(name)
    pooled = net.forward_head(net.forward_features(x), pre_logits=True)
    wrapper = model.model
    own = wrapper.module
    with torch.no_grad():
        features = own.forward_head(own.forward_features(x), pre_logits=True)
    torch.testing.assert_close(features, pooled)

    trained = {n for n, p in wrapper.module.named_parameters() if p.requires_grad}
    names = own.pretrained_cfg['classifier']
    heads = (names,) if isinstance(names, str) else names
    assert {n for n in trained if '.adapters.' not in n} == {
        n for n, _ in own.named_parameters() if n.startswith(heads)
    }
    randomize(wrapper)
    merged = merge_model(model)
    stock = Stock(name, num_classes=3, **SMALL[name]).eval()
    stock.load_state_dict(merged.state_dict(), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(stock(x), model(x), rtol=1e-4, atol=1e-4)


def test_config_by_name_has_the_sizes_and_the_statistics_of_the_weights():
    file = (
        config_root() / 'dmlora' / 'timm' / 'vit_base_patch16_clip_224.openai_digits.py'
    )
    config = load_config(file)
    settings = timm.get_pretrained_cfg('vit_base_patch16_clip_224.openai')
    assert config.model.model_name == 'vit_base_patch16_clip_224.openai'
    assert config.model.num_classes == 10
    assert config.model.method.type == 'mmdmlora.DMLoRAModel'
    assert settings.mean != timm.get_pretrained_cfg('resnet18').mean
    assert config.data_preprocessor.mean == [255 * value for value in settings.mean]
    assert config.data_preprocessor.std == [255 * value for value in settings.std]
    assert config.train_dataloader.dataset.pipeline[0].scale == (224, 224)
    assert config.weights_source.endswith('openai')


def test_the_merged_config_is_stock():
    file = config_root() / 'lora' / 'timm' / 'convnext_atto_generated-count.py'
    config = load_config(file)
    config.model.init_cfg = dict(type='Pretrained', checkpoint='net.pth')
    stock = stock_config(copy.deepcopy(config))
    assert stock.model.to_dict() == dict(
        type='mmpretrain.TimmClassifier',
        model_name='convnext_atto',
        num_classes=8,
        pretrained=False,
    )
    assert 'mmdmlora' not in Config(stock.to_dict()).pretty_text


@pytest.mark.parametrize(
    'name, message',
    [
        ('vit_tinny', "timm has no model 'vit_tinny'"),
        ('vit_tiny_patch16_224', 'can not load its weights'),
    ],
)
def test_what_timm_can_not_give_is_said(name, message, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError('offline')

    monkeypatch.setattr('timm.models._builder.load_pretrained', offline)
    config = dict(type='TimmClassifier', model_name=name, num_classes=3, method=DMLORA)
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)


def test_an_unknown_task_behind_a_name_of_timm():
    with pytest.raises(ValueError, match="no task is named 'dgits'"):
        load_config(config_root() / 'dmlora' / 'timm' / 'vit_tiny_patch16_224_dgits.py')

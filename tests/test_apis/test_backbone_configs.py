"""What a backbone's config makes of a checkpoint, at a tiny size."""

from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import get_installed_path
from mmpretrain.registry import MODELS as STOCK

from mmdmlora.apis.compose import load_config
from mmdmlora.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'
VIT = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)
IMAGENET = [123.675, 116.28, 103.53]
# The last stage's width, a tiny architecture, the mean of the input.
TINY = {
    'vit-b16': (24, VIT, [127.5] * 3),
    'vit-b16-imagenet-stats': (24, VIT, IMAGENET),
    'vit-b16-mae': (24, VIT, IMAGENET),
    'vit-b16-mocov3': (24, VIT, IMAGENET),
    'swin-b': (64, dict(embed_dims=8, depths=[1] * 4, num_heads=[1] * 4), IMAGENET),
    'convnext-b': (48, dict(depths=[1] * 4, channels=[8, 16, 32, 48]), IMAGENET),
    'dinov2-s14': (24, VIT, IMAGENET),
    'dinov2-s14-56': (24, VIT, IMAGENET),
    'dinov2-s14-224': (24, VIT, IMAGENET),
}


def config_of(backbone: str) -> Config:
    init_default_scope('mmdmlora')
    return load_config(CONFIGS / 'lora' / f'{backbone}_digits.py')


@cache
def zoo_urls() -> set[str]:
    folder = Path(get_installed_path('mmpretrain')) / '.mim' / 'configs'
    return {
        model['Weights']
        for file in folder.glob('*/metafile.yml')
        for model in yaml.safe_load(file.read_text()).get('Models', [])
        if 'Weights' in model
    }


@pytest.mark.parametrize('name', TINY)
def test_pretrained_weights_survive_the_classifiers_initialisation(name, tmp_path):
    """A model-level init_cfg of the base would overwrite them after they are loaded."""
    cfg = config_of(name)
    width, arch, mean = TINY[name]
    module = cfg.model.backbone.module
    module.arch = arch
    module.init_cfg.checkpoint = str(tmp_path / 'a.pth')
    cfg.model.head.in_channels = width
    stock = STOCK.build({k: v for k, v in module.items() if k != 'init_cfg'})
    for parameter in stock.parameters():
        torch.nn.init.normal_(parameter)
    torch.save(stock.state_dict(), tmp_path / 'a.pth')

    cfg.model.data_preprocessor = dict(cfg.data_preprocessor, type='ClsDataPreprocessor')
    model = MODELS.build(cfg.model)
    model.init_weights()
    merged = model.backbone.merge().state_dict()
    for key, value in stock.state_dict().items():
        assert torch.equal(merged[key], value), key
    assert model.data_preprocessor.mean.flatten().tolist() == pytest.approx(mean)
    model.eval()
    with torch.no_grad():
        logits = model(torch.zeros(1, 3, cfg.input_size, cfg.input_size), mode='tensor')
    assert logits.shape == (1, 10)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize('name', TINY)
def test_the_checkpoint_is_in_the_zoo_or_its_source_is_named(name):
    cfg = config_of(name)
    checkpoint = cfg.model.backbone.module.init_cfg.checkpoint
    assert cfg.weights_source
    if '://' in checkpoint:
        assert checkpoint in zoo_urls()
    else:
        assert checkpoint.startswith('checkpoints/')
        assert 'https://' in cfg.weights_source


def test_no_label_mixing_or_smoothing():
    for name in TINY:
        model = config_of(name).model
        assert model.head.loss == dict(type='CrossEntropyLoss')
        assert not model.get('train_cfg') and not model.get('init_cfg')

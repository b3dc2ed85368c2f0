"""Weights that are there stay; what a config asks to be initialised is."""

import copy
import re

import pytest
import timm
import torch
import torchvision
import transformers
from mmengine.model import BaseModule, PretrainedInit
from torch import nn

import mmdmlora
from mmdmlora.models.construction import build_backbone
from mmdmlora.models.wrap import METHODS
from mmdmlora.registry import MODELS
from tests.plain_models import MODELS as PLAIN
from tests.plain_models import VIT, build, state_of, timm_vit
from tests.tiny import BACKBONES
from tests.tiny import VIT as MM_VIT

TIMM = dict(
    model_name='vit_tiny_patch16_224',
    img_size=32,
    patch_size=8,
    embed_dim=24,
    depth=2,
    num_heads=2,
)


class Around(BaseModule):
    """A backbone of OpenMMLab's kind around a model of another library."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *args):
        return self.net(*args)


class StartsAnew(nn.Module):
    """A network in the manner of DINOv2's own code."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def init_weights(self) -> None:
        nn.init.zeros_(self.qkv.weight)

    def forward(self, x):
        return self.qkv(x)


@pytest.fixture
def timm_file(tmp_path):
    """A file of weights, and its weights."""
    torch.manual_seed(5)
    state = timm.create_model(**TIMM).state_dict()
    torch.save(state, tmp_path / 'vit.pth')
    return str(tmp_path / 'vit.pth'), state


def check_kept(model: nn.Module, state: dict, prefix: str = '') -> None:
    kept = {
        re.sub(r'\.original\b', '', name).removeprefix(prefix): tensor
        for name, tensor in model.state_dict().items()
    }
    for name, tensor in state.items():
        assert torch.equal(kept[name], tensor), name


@pytest.mark.parametrize('method', [*METHODS])
def test_file_that_a_factory_loads(timm_file, method):
    file, state = timm_file
    wrapper, options = METHODS[method]
    if 'rank' in (names := wrapper.__init__.__annotations__):
        options = dict(options, rank=2)
    elif 'dim' in names:
        options = dict(options, dim=4)
    config = dict(type='timm.create_model', checkpoint_path=file, **TIMM)
    check_kept(wrapper(config, **options).module, state)


@pytest.mark.parametrize('method', [*METHODS])
def test_file_that_a_class_of_openmmlab_loads(timm_file, method):
    file, state = timm_file
    config = dict(type='mmpretrain.TIMMBackbone', checkpoint_path=file, **TIMM)
    head = dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=24)
    wrapper, options = METHODS[method]
    options = {**options, **(dict(dim=4) if 'apter' in method else {})}
    backbone = dict(type=f'mmdmlora.{wrapper.__name__}', module=config, **options)
    model = MODELS.build(
        dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=head)
    )
    model.init_weights()
    del state['head.weight'], state['head.bias']
    check_kept(model.backbone.module, state, prefix='timm_model.')


@pytest.mark.parametrize('name', [*PLAIN])
def test_weights_inside_of_a_base_module(name):
    net = build(name)
    state = state_of(net)
    built = build_backbone(dict(type=lambda: Around(net)))
    built.init_weights()
    check_kept(built.net, state)


def test_weights_of_a_network_that_starts_anew_by_that_name():
    net = StartsAnew()
    weight = net.qkv.weight.clone()
    for around in (lambda: net, lambda: Around(nn.Sequential(net)), lambda: Around(net)):
        build_backbone(dict(type=around))
        assert torch.equal(net.qkv.weight, weight)
    outer = Around(mmdmlora.LinearProbeModel(net))
    outer.init_weights()
    assert torch.equal(net.qkv.weight, weight)


def test_classifiers_of_mmpretrain_around_other_libraries(timm_file):
    file, state = timm_file
    config = dict(type='mmpretrain.TimmClassifier', checkpoint_path=file, **TIMM)
    model = mmdmlora.DMLoRAModel(config, rank=2)
    check_kept(model.module, state)
    images = torch.randn(2, 3, 32, 32)
    model.eval()
    difference = (model(images) - model.merge()(images)).abs().max()
    assert difference < 1e-5


@pytest.mark.parametrize('name', [*BACKBONES])
def test_module_of_openmmlab_is_not_initialised(name):
    net = MODELS.build(copy.deepcopy(BACKBONES[name]))
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.5)
    model = mmdmlora.LinearProbeModel(net)
    assert model.module is net
    model.init_weights()
    Around(model).init_weights()
    assert all((parameter == 0.5).all() for parameter in net.parameters())


def test_what_a_config_asks_for_is_initialised():
    init_cfg = dict(type='Constant', layer='Linear', val=0.25)
    built = build_backbone(dict(MM_VIT, init_cfg=init_cfg))
    assert (built.layers[0].attn.qkv.weight == 0.25).all()
    backbone = dict(type='mmpretrain.TIMMBackbone', init_cfg=init_cfg, **TIMM)
    built = build_backbone(backbone)
    assert (built.timm_model.blocks[0].attn.qkv.weight == 0.25).all()


def test_init_cfg_loads_a_file_into_what_a_factory_builds(tmp_path):
    source = torchvision.models.resnet18()
    torch.save(source.state_dict(), tmp_path / 'a.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'))
    built = build_backbone(dict(type='torchvision.models.resnet18', init_cfg=init_cfg))
    check_kept(built, source.state_dict())


@pytest.mark.parametrize(
    'init_cfg',
    [
        dict(type='Pretrained'),
        dict(type='mmengine.Pretrained'),
        dict(type=PretrainedInit),
        [dict(type='TruncNormal', layer='Linear'), dict(type='Pretrained')],
    ],
    ids=['plain', 'scope', 'class', 'list'],
)
def test_a_file_is_loaded_completely_however_it_is_named(init_cfg, tmp_path):
    stock = MODELS.build(copy.deepcopy(BACKBONES['vit']))
    state = {name: torch.randn_like(p) for name, p in stock.named_parameters()}
    file = tmp_path / 'vit.pth'
    for entry in init_cfg if isinstance(init_cfg, list) else [init_cfg]:
        if entry['type'] != 'TruncNormal':
            entry['checkpoint'] = str(file)
    config = dict(BACKBONES['vit'], init_cfg=init_cfg)
    torch.save(state, file)
    model = MODELS.build(dict(type='mmdmlora.LinearProbeModel', module=config))
    for name, parameter in model.module.named_parameters():
        assert torch.equal(parameter, state[name])
    del state['cls_token']
    torch.save(state, file)
    with pytest.raises(ValueError, match='cls_token'):
        MODELS.build(dict(type='mmdmlora.LinearProbeModel', module=config))


def test_transformers_class_by_a_dotted_path():
    config = dict(
        type='transformers.ViTForImageClassification',
        config=transformers.ViTConfig(**VIT),
    )
    torch.manual_seed(0)
    expected = MODELS.build(dict(config)).state_dict()
    torch.manual_seed(0)
    check_kept(mmdmlora.LoRAModel(config).module, expected)


@pytest.mark.parametrize('module', ['vit_base_patch16_224', None, timm_vit])
def test_what_is_no_module(module):
    with pytest.raises(ValueError, match='must be a config dict or a torch.nn.Module'):
        mmdmlora.LoRAModel(module)


@pytest.mark.parametrize('method', ['dmlora', 'repadapter', 'adapter', 'vpt-deep'])
def test_wrapping_twice_is_refused(method):
    net = timm_vit()
    wrapper, options = METHODS[method]
    model = wrapper(net, **options)
    for module in (net, model):
        with pytest.raises(ValueError, match='is wrapped already, with a'):
            mmdmlora.LoRAModel(module)
    if method in ('dmlora', 'repadapter'):
        mmdmlora.LoRAModel(model.merge())


@pytest.mark.parametrize('method', ['linear', 'bitfit', 'full'])
def test_wrapping_a_wrapper_is_refused(method):
    wrapper, _ = METHODS[method]
    model = wrapper(timm_vit())
    with pytest.raises(ValueError, match=f'with a {wrapper.__name__}: take'):
        mmdmlora.LoRAModel(nn.Sequential(model))
    mmdmlora.LoRAModel(model.module)

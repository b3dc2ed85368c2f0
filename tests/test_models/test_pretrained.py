"""A backbone's checkpoint is loaded completely or refused."""

import copy

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS as STOCK
from safetensors.torch import save_file

from mmdmlora.registry import MODELS
from tests.backbones import SOURCES, build, layouts, outputs
from tests.tiny import VIT


@pytest.fixture
def source():
    torch.manual_seed(7)
    model = STOCK.build(copy.deepcopy(VIT))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def load(path, **overrides):
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    module = dict(copy.deepcopy(VIT), init_cfg=init_cfg, **overrides)
    return MODELS.build(dict(type='mmdmlora.LinearProbeModel', module=module)).module


def assert_same(model, source):
    for (name, ours), theirs in zip(
        model.named_parameters(), source.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.', 'module.backbone.'])
@pytest.mark.parametrize('outer', ['state_dict', 'model', None])
def test_prefix_and_nesting_are_found(tmp_path, source, prefix, outer):
    state = {prefix + k: v for k, v in source.state_dict().items()}
    state['head.fc.weight'] = torch.zeros(3, 3)
    torch.save({outer: state} if outer else state, tmp_path / 'a.pth')
    assert_same(load(tmp_path / 'a.pth'), source)


def test_safetensors_in_half_precision(tmp_path, source):
    save_file(
        {k: v.half() for k, v in source.state_dict().items()},
        tmp_path / 'a.safetensors',
    )
    loaded = load(tmp_path / 'a.safetensors')
    assert loaded.ln1.weight.dtype == torch.float32
    assert_same(loaded, source.half().float())


def test_position_embedding_is_resized(tmp_path, source):
    torch.save(source.state_dict(), tmp_path / 'a.pth')
    larger = load(tmp_path / 'a.pth', img_size=48)
    assert larger.pos_embed.shape == (1, 37, 24)
    assert torch.equal(larger.cls_token, source.cls_token)


def test_missing_file(tmp_path):
    with pytest.raises(
        ValueError, match='no backbone checkpoint at .*init_cfg.checkpoint'
    ):
        load(tmp_path / 'none.pth')


def test_missing_parameter(tmp_path, source):
    state = source.state_dict()
    del state['layers.1.attn.qkv.weight']
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'1 of 30 parameters.*layers.1.attn.qkv.weight'):
        load(tmp_path / 'a.pth')


def test_names_of_no_known_library(tmp_path, source):
    state = {k.replace('layers', 'levels'): v for k, v in source.state_dict().items()}
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='The file names .*levels.*names are unknown'):
        load(tmp_path / 'a.pth')


def test_other_shape(tmp_path, source):
    state = source.state_dict()
    state['ln1.weight'] = torch.zeros(5)
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(
        ValueError, match='(?s)does not fit VisionTransformer.*ln1.weight'
    ):
        load(tmp_path / 'a.pth')


def write(path, state):
    if path.suffix == '.npz':
        np.savez(path, **state)
    else:
        torch.save(dict(model=state), path)
    return str(path)


@pytest.mark.parametrize(
    'name, form, file',
    [
        ('vit', 'JAX', 'ViT-B_16.npz'),
        ('dinov2', 'timm', 'dinov2.pth'),
        ('swin', 'official', 'swin.pth'),
        ('convnext', 'timm', 'convnext.pth.tar'),
    ],
)
def test_training_takes_the_file_as_it_is(tmp_path, name, form, file):
    source, stock = build(name)
    path = write(tmp_path / file, layouts(name, source)[form])
    config = dict(SOURCES[name][2], init_cfg=dict(type='Pretrained', checkpoint=path))
    wrapper = MODELS.build(dict(type='mmdmlora.LinearProbeModel', module=config))
    stock.load_state_dict(wrapper.module.state_dict())
    theirs, ours = outputs(source, stock, name)
    assert (theirs - ours).abs().max() < 1e-5


TIMM_VIT = SOURCES['vit'][2]


@pytest.mark.parametrize(
    'name, config, message',
    [
        (
            'vit',
            dict(TIMM_VIT, arch=dict(TIMM_VIT['arch'], num_layers=4)),
            r'12 of .*layers\.3',
        ),
        (
            'vit',
            dict(TIMM_VIT, arch=dict(TIMM_VIT['arch'], num_layers=2)),
            r'place .*layers\.2',
        ),
        ('swin', TIMM_VIT, 'holds a SwinTransformer, embed dim 16, depth 2-1-2'),
        (
            'dinov2',
            dict(SOURCES['dinov2'][2], layer_scale_init_value=0.0),
            'no place for 4 .*gamma1.*layer_scale_init_value',
        ),
    ],
    ids=['deeper', 'shallower', 'family', 'layer scale'],
)
def test_a_file_of_another_architecture_is_refused(tmp_path, name, config, message):
    path = write(tmp_path / 'a.pth', build(name)[0].state_dict())
    config = dict(config, init_cfg=dict(type='Pretrained', checkpoint=path))
    with pytest.raises(ValueError, match=f'does not fit.*{message}'):
        MODELS.build(dict(type='mmdmlora.LinearProbeModel', module=config))

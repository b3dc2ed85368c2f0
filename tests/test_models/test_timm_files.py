"""timm's own files load into mmpretrain's TIMMBackbone, features included."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from mmdmlora.registry import MODELS
from tests.backbones import SOURCES

RESNET = ('resnet10t', {}, None)
MODELS_OF_TIMM = {k: v[:2] for k, v in (SOURCES | dict(resnet=RESNET)).items()}


def random_model(name):
    torch.manual_seed(5)
    timm_name, options = MODELS_OF_TIMM[name]
    model = timm.create_model(timm_name, **options).eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 0.2)
    return model


def wrapped(name, path, **more):
    timm_name, options = MODELS_OF_TIMM[name]
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    module = dict(type='mmpretrain.TIMMBackbone', model_name=timm_name, init_cfg=init_cfg)
    module |= options | more
    return MODELS.build(dict(type='mmdmlora.LinearProbeModel', module=module)).eval()


@pytest.mark.parametrize('name', MODELS_OF_TIMM)
def test_features_are_those_of_timm(tmp_path, name):
    source = random_model(name)
    save_file(source.state_dict(), tmp_path / 'a.safetensors')
    side = MODELS_OF_TIMM[name][1].get('img_size', 64)
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected = source.forward_features(x)
        model = wrapped(name, tmp_path / 'a.safetensors')
        assert torch.equal(model.module.timm_model.forward_features(x), expected)


@pytest.mark.parametrize('name', ['vit', 'swin', 'convnext', 'resnet'])
def test_maps_for_dense_heads(tmp_path, name):
    """Which tensor went where is seen from its values, in the order of the layers."""
    source = random_model(name)
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'a.pth.tar')
    model = wrapped(name, tmp_path / 'a.pth.tar', features_only=True)
    sums = [tensor.sum().item() for tensor in source.parameters()]
    places = [sums.index(tensor.sum().item()) for tensor in model.module.parameters()]
    assert places == sorted(places) and len(set(places)) == len(places)
    assert len(places) >= 0.8 * len(sums)


def test_another_image_size_is_read_as_timm_reads_it(tmp_path):
    source = random_model('vit')
    torch.save(source.state_dict(), tmp_path / 'a.pth')
    model = wrapped('vit', tmp_path / 'a.pth', img_size=48).module.timm_model
    assert model.pos_embed.shape == (1, 37, 24)
    assert torch.equal(model.blocks[2].mlp.fc2.weight, source.blocks[2].mlp.fc2.weight)


def test_wrapped_files_of_mmpretrain_and_of_training(tmp_path):
    state = random_model('vit').state_dict()
    for prefix in ('backbone.timm_model.', 'module._orig_mod.'):
        named = {prefix + k: v for k, v in state.items() if 'head' not in k}
        torch.save(dict(state_dict=named), tmp_path / 'a.pth')
        model = wrapped('vit', tmp_path / 'a.pth').module.timm_model
        assert torch.equal(model.cls_token, state['cls_token'])


@pytest.mark.parametrize(
    'spoil, message',
    [
        (lambda s: s.pop('blocks.1.norm1.weight'), 'parameters are missing'),
        (lambda s: s.update({'blocks.3.norm1.weight': torch.ones(24)}), 'no place for 1'),
        (lambda s: s.update({'blocks.0.attn.q_norm.weight': torch.ones(12)}), 'no place'),
    ],
    ids=['missing', 'deeper', 'other attention'],
)
def test_files_of_other_models_are_refused(tmp_path, spoil, message):
    state = random_model('vit').state_dict()
    spoil(state)
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=f'does not fit TIMMBackbone.*{message}'):
        wrapped('vit', tmp_path / 'a.pth')

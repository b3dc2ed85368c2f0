"""Evaluation with folded weights: the merged model's numbers, and nothing stays."""

import copy

import pytest
import torch

from mmdmlora.models.layers.adapted_layer import AdaptedLayer
from mmdmlora.models.layers.rep_adapter import RepAdaptedLayer
from mmdmlora.registry import MODELS
from tests.tiny import features, images, wrapped

METHODS = {
    'LoRAModel': dict(rank=2),
    'DMLoRAModel': dict(rank=2, num_branches=3, learn_scale=True),
    'RepAdapterModel': dict(dim=2),
    'BitFitModel': {},
}
methods = pytest.mark.parametrize('method', METHODS)
BEIT = dict(
    type='mmpretrain.BEiTViT',
    arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48),
    img_size=32,
    patch_size=8,
)


def build(method, backbone='vit'):
    options = METHODS[method]
    if (method, backbone) == ('RepAdapterModel', 'convnext_conv'):
        options = options | dict(targets=[dict(type='pointwise_conv1')])
    return trained(wrapped(method, backbone, **options))


def trained(model):
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@methods
@pytest.mark.parametrize('backbone', ['vit', 'swin', 'convnext_conv', 'timm'])
@torch.no_grad()
def test_it_gives_what_the_merged_model_gives(method, backbone):
    model = build(method, backbone)
    merged = model.merge()
    before, state = features(model, images()), copy.deepcopy(model.state_dict())
    names = [name for name, _ in model.named_modules()]
    with model.folded():
        assert torch.equal(features(model, images()), features(merged, images()))
        assert [name for name, _ in model.named_modules()] == names
    assert torch.equal(features(model, images()), before)
    assert all(torch.equal(t, state[n]) for n, t in model.state_dict().items())


@pytest.mark.parametrize('method', ['LoRAModel', 'DMLoRAModel', 'RepAdapterModel'])
@torch.no_grad()
def test_rounded_frozen_weights_fold_in_single_precision(method):
    model = trained(wrapped(method, **METHODS[method], frozen_dtype='bfloat16'))
    merged = model.merge()
    with model.folded():
        got = features(model, images())
    with torch.autocast('cpu', torch.bfloat16):
        expected = features(merged, images())
    assert torch.equal(got, expected.float())


@torch.no_grad()
def test_owners_that_read_the_weight_get_the_folded_one():
    model = trained(MODELS.build(dict(type='LoRAModel', module=BEIT, rank=2)))
    merged = model.merge()
    with model.folded():
        assert torch.equal(features(model, images()), features(merged, images()))


@methods
@torch.no_grad()
def test_nothing_that_was_inserted_runs(method, monkeypatch):
    model = build(method)
    ran = []
    for cls in (AdaptedLayer, RepAdaptedLayer):
        adapted = cls.adapted
        monkeypatch.setattr(
            cls, 'adapted', lambda s, x, adapted=adapted: ran.append(s) or adapted(s, x)
        )
    with model.folded():
        ran.clear()  # folding has compared each layer with its folded form
        features(model, images())
        assert not ran
    features(model, images())
    assert len(ran) == len(list(model._inserted_layers()))


@pytest.mark.parametrize('method', ['LoRAModel', 'RepAdapterModel'])
def test_gradients_need_what_was_inserted(method):
    model = build(method)
    expected = features(model, images())
    with model.folded():
        got = features(model, images())
        got.square().mean().backward()
    assert torch.equal(got, expected)
    assert all(p.grad is not None for p in model.trainable_parameters())


def test_training_ends_it():
    model = build('LoRAModel')
    expected = features(model.train(), images())
    with model.eval().folded():
        assert torch.equal(features(model.train(), images()), expected)
        assert all(layer.folded is None for _, layer in model._inserted_layers())


def write(model):
    next(model.trainable_parameters()).add_(1)


def load(model):
    state = {n: t + 0.1 for n, t in model.state_dict().items() if '.up.' in n}
    model.load_state_dict(model.state_dict() | state)


def prune(model):
    model.prune_branches(1)


def change_type(model):
    model.double()


@pytest.mark.parametrize('change', [write, load, prune, change_type])
@torch.no_grad()
def test_it_ends_where_the_model_changes(change):
    model = build('DMLoRAModel')
    x = images().double() if change is change_type else images()
    with model.folded():
        change(model)
        got = features(model, x)
    assert torch.equal(got, features(model, x))
    other = build('DMLoRAModel')
    change(other)
    torch.testing.assert_close(got, features(other, x))


@torch.no_grad()
def test_copies_begin_without_it():
    model = build('DMLoRAModel')
    with model.folded():
        copied, merged = copy.deepcopy(model), model.merge()
        expected = features(model, images())
    write(copied)
    assert not torch.allclose(features(copied, images()), expected, atol=1e-3)
    assert torch.equal(features(merged, images()), expected)


@pytest.mark.parametrize('method', ['AdapterModel'])
@torch.no_grad()
def test_methods_without_a_merged_form_are_refused(method):
    model = wrapped(method).eval()
    expected = features(model, images())
    with pytest.raises(ValueError, match='has no merged form'), model.folded():
        pass
    assert torch.equal(features(model, images()), expected)

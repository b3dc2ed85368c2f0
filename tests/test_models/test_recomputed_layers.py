"""Layers that backward repeats learn behind frozen ones."""

import copy

import pytest
import torch
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing

from mmdmlora.registry import MODELS
from tests.sweep.attempt import randomize
from tests.sweep.mmpretrain import MMPRETRAIN
from tests.tiny import images, wrapped

# The option that switches repeating on, its two values, and where there are adapters.
REPEATING = dict(
    RevVisionTransformer=('no_custom_backward', True, False),
    MixMIMTransformer=('use_checkpoint', False, True),
    RepLKNet=('with_cp', False, True),
    SwinTransformer=('with_cp', False, True),
    ConvNeXt=('with_cp', False, True),
)


def gradients(name, value, method, **options):
    backbone = MMPRETRAIN[name]
    config = dict(copy.deepcopy(backbone.config), **{REPEATING[name][0]: value})
    if name != 'RevVisionTransformer':
        config['drop_path_rate'] = 0.0
    if backbone.targets:
        options['targets'] = list(backbone.targets)
    torch.manual_seed(0)
    model = MODELS.build(
        dict(type=f'mmdmlora.{method}', module=config, rank=1, **options)
    )
    generator = torch.Generator().manual_seed(0)
    randomize(model, generator)
    x = torch.randn(2, 3, backbone.size, backbone.size, generator=generator)
    out = model.train()(x)[-1]
    out.square().mean().backward()
    assert x.grad is None and not x.requires_grad
    return [p.grad for p in model.trainable_parameters()]


@pytest.mark.parametrize('name', REPEATING)
@pytest.mark.parametrize(
    'method, options',
    [('LoRAModel', {}), ('DMLoRAModel', dict(num_branches=2, seed=0))],
)
def test_gradients_are_those_without_repeating(name, method, options):
    _, off, on = REPEATING[name]
    expected = gradients(name, off, method, **options)
    assert any(gradient is not None for gradient in expected)
    for got, gradient in zip(
        gradients(name, on, method, **options), expected, strict=True
    ):
        assert (got is None) == (gradient is None)
        if got is not None:
            scale = gradient.abs().max()
            assert (got - gradient).abs().max() <= 1e-3 * scale


@pytest.mark.parametrize('places', [['layers.0'], ['layers.0', 'layers.1'], ['']])
def test_mmengines_activation_checkpointing(places):
    """It replaces the forwards of modules that a config names."""
    model = wrapped('LoRAModel', rank=2)
    randomize(model, torch.Generator().manual_seed(0))
    expected = gradients_of(copy.deepcopy(model))
    names = [f'module.{place}'.rstrip('.') for place in places]
    turn_on_activation_checkpointing(model, names)
    torch.testing.assert_close(gradients_of(model), expected)


def gradients_of(model):
    model.train()(images())[-1].sin().sum().backward()
    return [parameter.grad for parameter in model.trainable_parameters()]

"""Layer-wise learning rates below a wrapper are those of the backbone alone."""

import copy
from collections import defaultdict

import mmpretrain.engine.optimizers  # noqa: F401
import pytest
from mmengine.optim import build_optim_wrapper

from mmdmlora.registry import MODELS
from tests.tiny import classifier_config, wrapped

CONSTRUCTOR = 'mmpretrain.LearningRateDecayOptimWrapperConstructor'


def rates(config: dict) -> dict[str, set[float]]:
    """The learning rates by the backbone's block, or what stands outside of blocks."""
    model = MODELS.build(copy.deepcopy(config))
    optimizer = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.05),
            paramwise_cfg=dict(layer_decay_rate=0.5),
            constructor=CONSTRUCTOR,
        ),
    ).optimizer
    names = {id(p): name for name, p in model.named_parameters()}
    found = defaultdict(set)
    for group in optimizer.param_groups:
        for parameter in group['params']:
            name = names[id(parameter)].replace('backbone.module.', 'backbone.')
            depth = 5 if '.blocks.' in name else 3
            found['.'.join(name.split('.')[:depth])].add(group['lr'])
    return found


@pytest.mark.parametrize('backbone', ['vit', 'swin'])
@pytest.mark.parametrize(
    'wrapper',
    [
        dict(type='mmdmlora.FullFinetuneModel'),
        dict(type='mmdmlora.BitFitModel'),
        dict(type='mmdmlora.LoRAModel', rank=2),
        dict(type='mmdmlora.DMLoRAModel', rank=2, num_branches=2, learn_scale=True),
        dict(type='mmdmlora.RepAdapterModel', dim=2),
    ],
    ids=lambda wrapper: wrapper['type'],
)
def test_rates_are_those_of_the_unwrapped_model(backbone, wrapper):
    expected, found = (
        rates(classifier_config(backbone, options)) for options in (None, wrapper)
    )
    blocks = [name for name in found if '.layers.' in name or '.blocks.' in name]
    assert len({rate for name in blocks for rate in found[name]}) > 1
    for name, each in found.items():
        assert each == expected[name], name


def test_a_backbone_without_depths_is_named():
    with pytest.raises(NotImplementedError, match='TIMMBackbone has no get_layer_depth'):
        wrapped('LoRAModel', 'timm', rank=2).get_layer_depth('module.x')


def test_names_are_the_backbones_own():
    model = wrapped('LoRAModel', rank=2)
    name = 'module.layers.0.attn.qkv.original.weight'
    assert model.backbone_name(name) == 'layers.0.attn.qkv.weight'
    assert model.backbone_name('module.cls_token') == 'cls_token'
    own = set(wrapped('LinearProbeModel').module.state_dict())
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert {model.backbone_name(n) for n in frozen} == own

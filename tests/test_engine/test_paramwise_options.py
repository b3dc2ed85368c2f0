"""Parameter-wise options below a wrapper mean what they mean without one."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper

from mmdmlora.registry import MODELS
from tests.peft_runner import DMLORA
from tests.tiny import classifier_config

OURS = 'mmdmlora.PEFTOptimWrapperConstructor'
LAYER_DECAY = 'mmpretrain.LearningRateDecayOptimWrapperConstructor'
FULL = dict(type='mmdmlora.FullFinetuneModel')
LR, DECAY = 1.0, 0.05


def built(paramwise_cfg, wrapper=DMLORA, backbone='vit', constructor=OURS, **optimizer):
    """The model and the settings of each trained parameter, by name."""
    model = MODELS.build(copy.deepcopy(classifier_config(backbone, wrapper)))
    optimizer = dict(type='AdamW', lr=LR, weight_decay=DECAY) | optimizer
    config = ConfigDict(
        constructor=constructor, optimizer=optimizer, paramwise_cfg=paramwise_cfg
    )
    groups = build_optim_wrapper(model, config).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    return groups, {
        names[id(p)]: (round(g['lr'], 9), round(g['weight_decay'], 9))
        for g in groups
        for p in g['params']
        if id(p) in names
    }


def kind(name):
    if 'log_scale' in name:
        return 'scale'
    return 'branch' if 'adapters' in name else 'head'


@pytest.mark.parametrize(
    'key',
    [
        'backbone',
        'backbone.module',
        'backbone.layers',
        'backbone.module.layers',
        'layers.',
        '.attn.qkv',
        'attn.qkv.adapters',
    ],
)
@pytest.mark.parametrize('setting', [dict(lr_mult=0.1), dict(lr_mult=0.1, decay_mult=2)])
def test_a_key_reaches_scales_and_branches_alike(key, setting):
    _, settings = built(dict(custom_keys={key: setting}))
    decay = DECAY * setting.get('decay_mult', 1)
    expected = dict(scale=(0.1, 0), branch=(0.1, decay), head=(LR, DECAY))
    assert all(found == expected[kind(name)] for name, found in settings.items())


def test_a_key_for_one_layer_in_the_backbones_own_name():
    _, settings = built(dict(custom_keys={'backbone.layers.0.attn': dict(lr_mult=0.5)}))
    for name, (rate, _) in settings.items():
        assert rate == (0.5 if '.layers.0.' in name else LR)


def test_the_longest_key_counts_for_scales_too():
    keys = {'backbone': dict(lr_mult=0.1), 'backbone.layers.1': dict(lr_mult=0.3)}
    _, settings = built(dict(custom_keys={**keys, 'log_scale': dict(lr_mult=5)}))
    for name, (rate, _) in settings.items():
        if kind(name) != 'head':
            shorter = 5 if kind(name) == 'scale' else 0.1
            assert rate == (0.3 if '.layers.1.' in name else shorter)


@pytest.mark.parametrize(
    'custom_keys, decay',
    [
        ({'.log_scale': dict(lr_mult=5)}, 0),
        ({'.log_scale': dict(decay_mult=0.5)}, 0.5 * DECAY),
        ({'log_scale': dict(weight_decay=0.3)}, 0.3),
        ({'log_scale': dict(weight_decay=0.3), 'backbone.module.layers': {}}, 0.3),
        ({'q.log_scale': dict(decay_mult=1), 'v.log_scale': dict(decay_mult=1)}, DECAY),
        ({'backbone': dict(weight_decay=0.7)}, 0),
        ({'qkv.adapters': dict(decay_mult=4)}, 0),
    ],
)
def test_only_a_key_that_names_the_scales_lets_them_decay(custom_keys, decay):
    _, settings = built(dict(custom_keys=custom_keys))
    decays = {found[1] for name, found in settings.items() if kind(name) == 'scale'}
    assert decays == {round(decay, 9)}


@pytest.mark.parametrize(
    'options',
    [
        dict(norm_decay_mult=0.0),
        dict(bias_decay_mult=0.0, bias_lr_mult=2.0),
        dict(flat_decay_mult=0.0),
        dict(dwconv_decay_mult=0.0, norm_decay_mult=0.5),
        dict(custom_keys={'.cls_token': dict(decay_mult=0.0)}, bias_decay_mult=3.0),
        dict(custom_keys={'layers.0': dict(lr_mult=0.5), '.ln1': dict(decay_mult=0.0)}),
        dict(custom_keys={'backbone.layers.1.attn': dict(lr_mult=0.5)}),
        dict(custom_keys={'stages.1': dict(lr_mult=0.5), 'norm': dict(decay_mult=0.0)}),
    ],
)
@pytest.mark.parametrize('backbone', ['vit', 'swin', 'convnext'])
def test_full_fine_tuning_gets_what_the_plain_model_gets(backbone, options):
    _, expected = built(options, None, backbone, 'DefaultOptimWrapperConstructor')
    _, found = built(options, FULL, backbone)
    assert {n.replace('backbone.module.', 'backbone.'): s for n, s in found.items()} == (
        expected
    )


@pytest.mark.parametrize('backbone', ['vit', 'swin'])
def test_layer_wise_rates_are_those_of_the_plain_model(backbone):
    options = dict(
        layer_decay_rate=0.5,
        norm_decay_mult=0.0,
        custom_keys={'.cls_token': dict(decay_mult=0.0)},
    )
    _, expected = built(options, None, backbone, LAYER_DECAY)
    groups, found = built(options, FULL, backbone)
    assert {n.replace('backbone.module.', 'backbone.'): s for n, s in found.items()} == (
        expected
    )
    assert len(groups) == len({*expected.values()})


def test_layer_wise_rates_of_adapters():
    options = dict(layer_decay_rate=0.5, custom_keys={'layers.1': dict(lr_mult=10)})
    _, settings = built(options)
    depth = {'layers.0': 0.25, 'layers.1': 0.5 * 10, 'head': 1.0}
    for name, (rate, decay) in settings.items():
        assert rate == next(r for part, r in depth.items() if part in name)
        assert decay == (0 if kind(name) == 'scale' else DECAY)


def test_layer_wise_rates_of_a_model_that_knows_no_depths():
    wrapper = MODELS.build(classifier_config('vit', DMLORA)['backbone'])
    model = torch.nn.Module()
    model.encoder, model.decoder = wrapper, torch.nn.Linear(2, 2)
    config = dict(
        constructor=OURS,
        optimizer=dict(type='SGD', lr=LR, weight_decay=0.0),
        paramwise_cfg=dict(layer_decay_rate=0.5),
    )
    names = {id(p): name for name, p in model.named_parameters()}
    for group in build_optim_wrapper(model, config).optimizer.param_groups:
        for parameter in group['params']:
            name = names[id(parameter)]
            depth = 0.25 if 'layers.0' in name else 0.5
            assert group['lr'] == (depth if name.startswith('encoder') else 1.0)
    model.encoder = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match='Module has no get_layer_depth.*leave out'):
        build_optim_wrapper(model, config)


def test_options_without_effect_are_refused():
    with pytest.raises(ValueError, match='bias_lr_mult has no effect with layer_decay'):
        built(dict(layer_decay_rate=0.5, bias_lr_mult=2))
    with pytest.raises(ValueError, match='weight_decay: set it, to 0.0 for none'):
        built(dict(layer_decay_rate=0.5), weight_decay=None)


@pytest.mark.parametrize(
    'options',
    [None, dict(custom_keys={'head': dict(lr_mult=2)}), dict(layer_decay_rate=0.5)],
)
def test_groups_are_plain(options):
    groups, _ = built(options, betas=(0.8, 0.9))
    for group in groups:
        assert type(group) is dict
        assert all(type(value).__name__ != 'ConfigDict' for value in group.values())
        assert group['betas'] == (0.8, 0.9)

"""Parameter groups."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from mmdmlora.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from tests.peft_runner import DMLORA
from tests.single_process_group import single_process_group
from tests.tiny import classifier_config, images, wrapped


def build(paramwise_cfg=None, wrapper=DMLORA, **optimizer):
    model = MODELS.build(classifier_config('vit', wrapper))
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get('PEFTOptimWrapperConstructor')(
        dict(optimizer=dict(type='AdamW', lr=0.1, **optimizer)), paramwise_cfg
    )
    return model, constructor(model).optimizer


def test_groups_hold_what_is_trained_and_scales_get_no_decay():
    for options in (dict(weight_decay=0.05), dict()):
        model, optimizer = build(**options)
        listed = [p for g in optimizer.param_groups for p in g['params']]
        trained = [p for p in model.parameters() if p.requires_grad]
        assert len(listed) == len(trained) and {*map(id, listed)} == {*map(id, trained)}
        assert len(optimizer.param_groups) == 2
        scales = {id(p) for p in model.backbone.scale_parameters()}
        decay = {
            id(p): g['weight_decay'] for g in optimizer.param_groups for p in g['params']
        }
        assert {d for i, d in decay.items() if i in scales} == {0}
        assert all(d > 0 for i, d in decay.items() if i not in scales)


def test_scales_do_not_decay_in_a_step():
    model, optimizer = build(weight_decay=0.5)
    before = model.backbone.scales()
    model.train()
    # With every B at zero the gradient of a scale is zero: only decay could move it.
    model(images(), mode='tensor').sum().backward()
    optimizer.step()
    assert model.backbone.scales() == before


def test_custom_keys_are_kept():
    custom = {
        'custom_keys': {'head': dict(lr_mult=10.0), '.log_scale': dict(lr_mult=5.0)}
    }
    model, optimizer = build(custom, weight_decay=0.05)
    rates = {id(p): g['lr'] for g in optimizer.param_groups for p in g['params']}
    assert rates[id(model.head.fc.weight)] == pytest.approx(1.0)
    assert rates[id(model.backbone.scale_parameters()[0])] == pytest.approx(0.5)
    branch = next(iter(model.backbone.adapters.values())).down[0]
    assert rates[id(branch)] == pytest.approx(0.1)


def test_nothing_to_train():
    model = MODELS.build(classifier_config('vit', DMLORA)).requires_grad_(False)
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get('PEFTOptimWrapperConstructor')(
        dict(optimizer=dict(type='SGD', lr=0.1))
    )
    with pytest.raises(ValueError, match='no parameter of ImageClassifier is trained'):
        constructor(model)


def test_learning_rate_schedulers_see_every_group():
    _, optimizer = build(weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    optimizer.step()
    scheduler.step()
    assert [g['lr'] for g in optimizer.param_groups] == pytest.approx([0.01, 0.01])


@pytest.mark.parametrize('unused', [False, True])
@pytest.mark.parametrize('method', ['LoRAModel', 'DMLoRAModel'])
def test_distributed_training_needs_its_setting(tmp_path, method, unused):
    """Held scales and branches that weren't drawn have no gradient."""
    from torch.nn.parallel import DistributedDataParallel

    model = wrapped(method, rank=2, learn_scale=True)
    config = dict(
        constructor='mmdmlora.PEFTOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=1),
    )
    with single_process_group(tmp_path):
        parallel = DistributedDataParallel(model, find_unused_parameters=unused)
        if unused:
            assert build_optim_wrapper(parallel, config).param_groups
        else:
            with pytest.raises(ValueError, match='find_unused_parameters=True'):
                build_optim_wrapper(parallel, config)

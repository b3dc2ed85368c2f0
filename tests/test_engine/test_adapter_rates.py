"""Learning rates of LoRA+ and by the number of branches, before and after pruning."""

import copy
import math

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper

from mmdmlora.registry import MODELS
from tests.peft_runner import DMLORA, runner
from tests.test_engine.test_paramwise_options import LR, OURS, built, kind
from tests.tiny import classifier_config, images, loss_of, randomize, wrapped

LORA = dict(type='mmdmlora.LoRAModel', rank=2, learn_scale=True)
FACTORS = dict(equal=lambda n: 1, sqrt=math.sqrt, linear=lambda n: n)


def rates(wrapper=DMLORA, **options):
    _, settings = built(options, wrapper)
    return {name: rate for name, (rate, _) in settings.items()}


@pytest.mark.parametrize('rule', FACTORS)
@pytest.mark.parametrize('n', [1, 4])
def test_rates_of_branches(rule, n):
    for name, rate in rates(dict(DMLORA, num_branches=n), branch_lr=rule).items():
        assert rate == pytest.approx(FACTORS[rule](n) if kind(name) == 'branch' else 1)


def test_by_default_nothing_changes():
    plain, _ = built(None)
    explicit, _ = built(dict(branch_lr='equal', up_lr_ratio=1))
    for groups in (plain, explicit):
        assert {g['lr'] for g in groups} == {LR} and len(groups) == 2
        assert not any('active_branches' in group for group in groups)


@pytest.mark.parametrize('wrapper', [LORA, DMLORA])
def test_rates_of_up_matrices(wrapper):
    found = rates(wrapper, up_lr_ratio=16)
    ups = {name for name in found if '.up.' in name}
    assert ups and {found[name] for name in ups} == {16}
    assert {rate for name, rate in found.items() if name not in ups} == {LR}


def test_all_options_multiply():
    found = rates(
        branch_lr='linear',
        up_lr_ratio=8,
        layer_decay_rate=0.5,
        custom_keys={'layers.1': dict(lr_mult=10)},
    )
    for name, rate in found.items():
        expected = 0.25 if 'layers.0' in name else 5 if 'layers.1' in name else 1
        expected *= 4 if kind(name) == 'branch' else 1
        assert rate == expected * (8 if '.up.' in name else 1), name


def test_layers_with_other_numbers_of_branches():
    targets = [
        dict(type='layers.0.attn.qkv', parts=('q', 'v'), num_branches=2),
        dict(type='layers.1.attn.qkv', parts=('q', 'v')),
    ]
    found = rates(dict(DMLORA, targets=targets), branch_lr='linear')
    for name, rate in found.items():
        if kind(name) == 'branch':
            assert rate == (2 if 'layers.0' in name else 4)


def test_linear_moves_the_mean_as_one_branch_moves():
    model = wrapped('DMLoRAModel', rank=2, num_branches=5, seed=0)
    randomize(model)
    optimizer = build_optim_wrapper(
        model,
        dict(
            constructor=OURS,
            optimizer=dict(type='SGD', lr=0.1),
            paramwise_cfg=dict(branch_lr='linear'),
        ),
    ).optimizer
    adapter = model.adapters['layers.0.attn.qkv.q']
    before = [each.detach().clone() for each in adapter.mean()]
    loss_of(model, images()).backward()
    optimizer.step()
    ((i, j),) = model.draws.drawn()['layers.0.attn.qkv.q']
    for old, new, drawn in zip(
        before, adapter.mean(), (adapter.down[i], adapter.up[j]), strict=True
    ):
        torch.testing.assert_close(new - old, -0.1 * drawn.grad, atol=1e-6, rtol=1e-4)


# In a run


class Rates(Hook):
    """Notes in each step the active branches and the rates as the step used them."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        groups = runner.optim_wrapper.optimizer.param_groups
        names = {id(p): n for n, p in runner.model.named_parameters()}
        rate = {kind(names[id(g['params'][0])]): g['lr'] for g in groups}
        number = runner.model.backbone.num_branches
        (noted,) = {g['active_branches'] for g in groups if 'active_branches' in g}
        assert noted == number
        self.seen.append((number, rate['branch'], rate['head'], rate['scale']))


def optimizer_config(rule, **options):
    return dict(
        optim_wrapper=dict(
            constructor=OURS,
            optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05),
            paramwise_cfg=dict(branch_lr=rule, **options),
        )
    )


def pruned_run(tmp_path, **options):
    pruning = dict(type='BranchPruningHook', interval=1)
    run = runner(tmp_path, **dict(dict(epochs=4, hooks=dict(pruning=pruning)), **options))
    spy = Rates()
    run.register_hook(spy, priority='VERY_HIGH')
    return run, spy


COSINE = dict(type='CosineAnnealingLR', by_epoch=False, T_max=8)
SCHEDULERS = dict(
    none=None,
    cosine=dict(COSINE, eta_min=0),
    cosine_to_a_share=dict(COSINE, eta_min_ratio=0.1),
    restarts=dict(
        eta_min=0,
        type='CosineRestartLR',
        by_epoch=False,
        periods=[3, 5],
        restart_weights=[1, 0.5],
    ),
    warm_up=dict(type='LinearLR', by_epoch=False, start_factor=0.1, end=6),
    steps=dict(type='MultiStepLR', by_epoch=False, milestones=[3, 5], gamma=0.1),
    poly=dict(type='PolyLR', by_epoch=True, power=2, end=4),
)


@pytest.mark.parametrize(
    'rule, scheduler',
    [('linear', name) for name in SCHEDULERS] + [('sqrt', 'restarts')],
)
def test_rates_follow_pruning_under_every_scheduler(tmp_path, rule, scheduler):
    run, spy = pruned_run(
        tmp_path, **optimizer_config(rule), param_scheduler=SCHEDULERS[scheduler]
    )
    run.train()
    assert [number for number, *_ in spy.seen] == [4, 4, 3, 3, 2, 2, 1, 1]
    for number, branch, head, scale in spy.seen:
        assert head == scale
        assert branch == pytest.approx(FACTORS[rule](number) * head, rel=1e-9)
    assert (len({head for *_, head, _ in spy.seen}) == 1) == (scheduler == 'none')


def test_rates_follow_pruning_inside_of_epochs(tmp_path):
    pruning = dict(type='BranchPruningHook', interval=1, by_epoch=False)
    run, spy = pruned_run(
        tmp_path, **optimizer_config('linear'), hooks=dict(pruning=pruning)
    )
    run.train()
    assert [(n, round(rate * 100, 9)) for n, rate, *_ in spy.seen] == [
        (n, n) for n in (4, 3, 2, 1, 1, 1, 1, 1)
    ]


def test_a_resumed_run_has_the_same_rates_and_weights(tmp_path):
    options = dict(
        **optimizer_config('linear', up_lr_ratio=4),
        param_scheduler=dict(COSINE, eta_min=1e-4),
    )
    whole, spy = pruned_run(tmp_path / 'whole', **options)
    whole.train()
    checkpoint = tmp_path / 'whole' / 'epoch_2.pth'
    resumed, late = pruned_run(
        tmp_path / 'resumed', **options, resume=True, load_from=str(checkpoint)
    )
    resumed.train()
    assert late.seen == spy.seen[4:]
    groups = [r.optim_wrapper.optimizer.param_groups for r in (whole, resumed)]
    for one, other in zip(*groups, strict=True):
        assert {**one, 'params': 0} == {**other, 'params': 0}
    expected = whole.model.state_dict()
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_branches_pruned_by_hand_and_weights_that_come_pruned():
    model = MODELS.build(classifier_config('vit', DMLORA))
    other = copy.deepcopy(model)
    config = dict(
        constructor=OURS,
        optimizer=dict(type='AdamW', lr=LR),
        paramwise_cfg=dict(branch_lr='linear'),
    )
    optimizer = build_optim_wrapper(model, config).optimizer

    def rate_after_a_step():
        model(images(), mode='tensor').sum().backward()
        optimizer.step()
        return max(group['lr'] for group in optimizer.param_groups)

    assert rate_after_a_step() == 4
    model.backbone.prune_branches(2)
    assert rate_after_a_step() == 2
    other.backbone.prune_branches(1)
    model.load_state_dict(other.state_dict())
    assert rate_after_a_step() == 3


# Refusals


@pytest.mark.parametrize(
    'options, wrapper, message',
    [
        (dict(branch_lr='cubic'), DMLORA, "branch_lr='cubic' is unknown: use one of"),
        (dict(branch_lr=True), DMLORA, 'branch_lr=True is unknown'),
        (dict(branch_lr=['sqrt']), DMLORA, 'branch_lr=.* is unknown'),
        (dict(branch_lr='sqrt'), dict(DMLORA, draws='sample'), "'sqrt'.*draws='batch'"),
        (dict(branch_lr='linear'), LORA, 'branches of DMLoRAModel.*leave it out'),
        (dict(branch_lr='sqrt'), None, 'branches of DMLoRAModel.*leave it out'),
        (dict(up_lr_ratio=0), LORA, 'up_lr_ratio=0 must be a number above 0'),
        (dict(up_lr_ratio=-2.0), LORA, 'up_lr_ratio=-2.0 must be'),
        (dict(up_lr_ratio=float('nan')), LORA, 'up_lr_ratio=nan must be'),
        (dict(up_lr_ratio=True), LORA, 'up_lr_ratio=True must be'),
        (dict(up_lr_ratio='16'), LORA, "up_lr_ratio='16' must be"),
        (dict(up_lr_ratio=2), dict(type='mmdmlora.BitFitModel'), 'has none: leave it'),
    ],
)
def test_options_without_sense(options, wrapper, message):
    with pytest.raises(ValueError, match=message):
        built(options, wrapper)


@pytest.mark.parametrize('options', [dict(branch_lr='sqrt'), dict(up_lr_ratio=2)])
def test_options_need_a_rate(options):
    with pytest.raises(ValueError, match='needs a rate.*optimizer.lr'):
        built(options, lr=None)


def test_draws_of_each_image_with_one_branch_have_nothing_to_follow():
    one = dict(DMLORA, num_branches=1, draws='sample')
    assert set(rates(one, branch_lr='linear').values()) == {LR}


def test_a_scheduler_that_levels_rates_is_refused(tmp_path):
    scheduler = dict(type='OneCycleLR', eta_max=0.1, total_steps=8, by_epoch=False)
    run, _ = pruned_run(tmp_path, **optimizer_config('sqrt'), param_scheduler=scheduler)
    with pytest.raises(ValueError, match='branch_lr has no effect with OneCycleLR'):
        run.train()

"""AdamW's fused form keeps what other forms keep."""

from __future__ import annotations

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmdmlora.apis.run import prepare
from tests.peft_runner import DMLORA, config
from tests.tiny import drawn_parameters, images, loss_of, randomize, wrapped

OPTIONS = dict(rank=2, num_branches=4, learn_scale=True, seed=1)
HOOKS = dict(
    pruning=dict(type='BranchPruningHook', interval=2, min_branches=3),
    scalar=dict(type='LearningScalarHook'),
)
OPTIMIZERS = dict(AdamW=dict(weight_decay=0.1), Adam={}, SGD=dict(weight_decay=0.1))
optimizers = pytest.mark.parametrize('kind', OPTIMIZERS)


def build() -> nn.Module:
    model = wrapped('DMLoRAModel', **OPTIONS)
    randomize(model)
    return model.train()


def fused(model: nn.Module, kind: str = 'AdamW', **options) -> torch.optim.Optimizer:
    settings = OPTIMIZERS[kind] | dict(lr=0.01, fused=True) | options
    return getattr(torch.optim, kind)(model.parameter_groups(), **settings)


def trained(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> set[str]:
    """Train once; the names of what has changed."""
    before = trained(model)
    optimizer.zero_grad()
    loss_of(model, images(seed=seed)).backward()
    optimizer.step()
    return {n for n, p in trained(model).items() if not torch.equal(p, before[n])}


@optimizers
def test_undrawn_branches_and_held_scales_are_untouched(kind):
    model = build()
    optimizer = fused(model, kind)
    scales = {n for n in trained(model) if n.endswith('log_scale')}
    for seed in range(8):
        held = seed >= 4
        model.set_trained(branches=True, scales=not held)
        changed = step(model, optimizer, seed)
        assert changed == drawn_parameters(model) | (set() if held else scales)


@optimizers
def test_steps_are_those_of_the_plain_form(kind):
    models = [build(), build()]
    optimizers = [fused(models[0], kind), fused(models[1], kind, fused=False)]
    for seed in range(6):
        for model, optimizer in zip(models, optimizers, strict=True):
            step(model, optimizer, seed)
    plain = trained(models[1])
    for name, parameter in trained(models[0]).items():
        torch.testing.assert_close(parameter, plain[name], rtol=1e-5, atol=1e-6)


def test_a_pruned_branch_is_left_behind():
    model = build()
    optimizer = fused(model)
    for seed in range(4):
        step(model, optimizer, seed)
    model.prune_branches(2)
    before = trained(model)
    for seed in range(12):
        step(model, optimizer, seed)
    moved = {n for n, p in trained(model).items() if not torch.equal(p, before[n])}
    for name, adapter in model.adapters.items():
        layer, part = name.rsplit('.', 1)
        for kind, active in zip(('down', 'up'), adapter.active(), strict=True):
            prefix = f'module.{layer}.adapters.{part}.{kind}.'
            assert {n for n in moved if n.startswith(prefix)} <= {
                f'{prefix}{i}' for i in active
            }


def test_with_a_loss_that_is_scaled():
    model, plain = build(), build()
    scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
    optimizer, other = fused(model), fused(plain, fused=False)
    for seed in range(3):
        optimizer.zero_grad()
        scaler.scale(loss_of(model, images(seed=seed))).backward()
        scaler.step(optimizer)
        scaler.update()
        step(plain, other, seed)
    for name, parameter in trained(model).items():
        expected = trained(plain)[name]
        torch.testing.assert_close(parameter, expected, rtol=1e-4, atol=1e-5)
    before = trained(model)
    optimizer.zero_grad()
    scaler.scale(loss_of(model, images()) * float('inf')).backward()
    scaler.step(optimizer)
    assert all(torch.equal(p, before[n]) for n, p in trained(model).items())


class Cut(Hook):
    priority = 'LOWEST'

    def after_train_epoch(self, runner: Runner) -> None:
        if runner.epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'mmdmlora.BFloat16OptimWrapper'])
def test_a_resumed_run_is_equal(wrapper, tmp_path):
    def made(folder: str, **options) -> Runner:
        cfg = config(tmp_path / folder, DMLORA, epochs=4, hooks=HOOKS, **options)
        cfg.optim_wrapper.type = wrapper
        cfg.optim_wrapper.clip_grad = dict(max_norm=1.0)
        cfg.optim_wrapper.optimizer.fused = True
        return Runner.from_cfg(prepare(cfg))

    whole = made('whole')
    whole.train()
    assert all(g['fused'] for g in whole.optim_wrapper.optimizer.param_groups)
    cut = made('cut')
    cut.register_hook(Cut(), 'LOWEST')
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    again = made('cut', resume=True)
    again.train()
    state = whole.model.state_dict()
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize(
    'wrapper', [DMLORA, dict(type='mmdmlora.LoRAModel', rank=2, learn_scale=True)]
)
def test_momentum_that_it_cannot_begin_is_refused(wrapper, tmp_path):
    cfg = config(tmp_path, wrapper)
    cfg.optim_wrapper.optimizer = dict(type='SGD', lr=0.1, momentum=0.9, fused=True)
    runner = Runner.from_cfg(prepare(cfg))
    with pytest.raises(ValueError, match='fused SGD .*optimizer.fused=None'):
        runner.train()
    cfg.optim_wrapper.optimizer.momentum = 0
    runner.build_optim_wrapper(cfg.optim_wrapper)


def test_every_parameter_begins_at_once_without_draws(tmp_path):
    cfg = config(tmp_path, dict(type='mmdmlora.LoRAModel', rank=2), epochs=1)
    cfg.optim_wrapper.optimizer = dict(type='SGD', lr=0.1, momentum=0.9, fused=True)
    Runner.from_cfg(prepare(cfg)).train()

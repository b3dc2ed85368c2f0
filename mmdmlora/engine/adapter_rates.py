"""Learning rates of down and up matrices, and by the number of active branches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mmengine.optim import OneCycleParamScheduler, OptimWrapperDict
from mmengine.runner import Runner
from torch import nn
from torch.optim import Optimizer

from mmdmlora.models.argument_checks import is_scale
from mmdmlora.models.draws import Draws
from mmdmlora.models.layers.mix_lora import MixLoRA

BRANCH_LR = 'branch_lr'
UP_LR_RATIO = 'up_lr_ratio'
# By how much n branches raise a rate.
FACTORS: dict[str, Callable[[int], float]] = {
    'equal': lambda n: 1.0,
    'sqrt': math.sqrt,
    'linear': float,
}
# In a parameter group: the number of branches that its rates are meant for.
ACTIVE = 'active_branches'
# What schedulers go on from: the present rate, or the first.
RATES = ('lr', 'initial_lr')


def check_rate_options(paramwise_cfg: dict[str, Any], base_lr: float | None) -> None:
    """Refuse values of ``branch_lr`` and ``up_lr_ratio`` that can't be.

    Raises:
        ValueError: Naming the option, its value and the remedy.
    """
    rule = paramwise_cfg.get(BRANCH_LR, 'equal')
    if not (isinstance(rule, str) and rule in FACTORS):
        raise ValueError(
            f'paramwise_cfg.{BRANCH_LR}={rule!r} is unknown: use one of {[*FACTORS]}.'
        )
    ratio = paramwise_cfg.get(UP_LR_RATIO, 1.0)
    if isinstance(ratio, bool) or not is_scale(ratio):
        raise ValueError(
            f'paramwise_cfg.{UP_LR_RATIO}={ratio!r} must be a number above 0, such as '
            '16.0; 1.0 gives both matrices the same rate.'
        )
    if (rule != 'equal' or ratio != 1) and base_lr is None:
        name = BRANCH_LR if rule != 'equal' else UP_LR_RATIO
        raise ValueError(
            f'paramwise_cfg.{name} needs a rate to multiply: set '
            'optim_wrapper.optimizer.lr.'
        )


def multiply_rates(
    singles: Iterable[dict],
    model: nn.Module,
    paramwise_cfg: dict[str, Any],
    base_lr: float,
) -> dict[int, int]:
    """Apply ``up_lr_ratio`` and ``branch_lr``.

    Args:
        singles: Parameter groups of one parameter each. Those of branches get
            ``branch_lr`` and ``active_branches`` where that isn't ``equal``.
        model: The model that they are of.
        paramwise_cfg: The options.
        base_lr: The rate of groups without one.

    Returns:
        dict[int, int]: For the id of a parameter that may share its group with those of
        the same number only, the number.

    Raises:
        ValueError: If an option has nothing to act on, or each image draws its own
            branches.
    """
    ratio = paramwise_cfg.get(UP_LR_RATIO, 1.0)
    if ratio != 1:
        _set_up_rates(singles, model, ratio, base_lr)
    rule = paramwise_cfg.get(BRANCH_LR, 'equal')
    return {} if rule == 'equal' else _set_branch_rates(singles, model, rule, base_lr)


def _set_up_rates(
    singles: Iterable[dict], model: nn.Module, ratio: float, base_lr: float
) -> None:
    adapters = [m for m in model.modules() if isinstance(m, MixLoRA)]
    if not adapters:
        raise ValueError(
            f'paramwise_cfg.{UP_LR_RATIO}={ratio} is for the matrices of LoRAModel and '
            f'DMLoRAModel, but {type(model).__name__} has none: leave it out.'
        )
    ups = {id(branch) for adapter in adapters for branch in adapter.up}
    for single in singles:
        if id(single['params'][0]) in ups:
            single['lr'] = single.get('lr', base_lr) * ratio


def _set_branch_rates(
    singles: Iterable[dict], model: nn.Module, rule: str, base_lr: float
) -> dict[int, int]:
    found = find_draws(model)
    setting = f'paramwise_cfg.{BRANCH_LR}={rule!r}'
    if not found:
        raise ValueError(
            f'{setting} is for the branches of DMLoRAModel, but {type(model).__name__} '
            'has none: leave it out.'
        )
    counts = [count_active(draws) for draws in found]
    for draws, count in zip(found, counts, strict=True):
        if draws.mode == 'sample' and max(count.values()) > 1:
            raise ValueError(
                f'{setting} makes up for branches that are seldom drawn, but with draws='
                "'sample' nearly every branch is drawn in every step: leave it out, or "
                "use draws='batch'."
            )
    active = {key: number for count in counts for key, number in count.items()}
    for single in singles:
        number = active.get(id(single['params'][0]))
        if number is not None:
            rate = single.get('lr', base_lr) * FACTORS[rule](number)
            single.update({'lr': rate, BRANCH_LR: rule, ACTIVE: number})
    return {key: place for place, count in enumerate(counts) for key in count}


def find_draws(model: nn.Module) -> list[Draws]:
    """What draws the branches in a model.

    It is found by the adapters: of a wrapper that is the whole model, mmengine hands over
    the ``module`` alone.
    """
    adapters = (m for m in model.modules() if isinstance(m, MixLoRA))
    return [*dict.fromkeys(a.draws for a in adapters if a.draws is not None)]


def count_active(draws: Draws) -> dict[int, int]:
    """How many branches are active beside each one, by the ids of the parameters."""
    draws.sync()
    counts: dict[int, int] = {}
    for adapter in draws.adapters():
        down, _ = adapter.active_indices
        counts.update(dict.fromkeys(map(id, (*adapter.down, *adapter.up)), len(down)))
    return counts


def follow_branches(
    groups: Iterable[dict], found: Sequence[Draws], schedulers: Sequence = ()
) -> None:
    """Bring the rates of branches to the number that is active now.

    All that a group's rates are computed from is multiplied by the same factor, so
    schedulers, which start from the present rate or from the first one, go on from there.
    Groups without ``branch_lr`` stay as they are.

    Args:
        groups: The parameter groups of an optimizer wrapper.
        found: What draws the branches in the model.
        schedulers: mmengine's schedulers of that optimizer wrapper.
    """
    active: dict[int, int] = {}
    for place, group in enumerate(groups):
        if BRANCH_LR not in group:
            continue
        for draws in () if active else found:
            active |= count_active(draws)
        number = active[id(group['params'][0])]
        if number == group[ACTIVE]:
            continue
        factor_of = FACTORS[group[BRANCH_LR]]
        factor = factor_of(number) / factor_of(group[ACTIVE])
        group[ACTIVE] = number
        for name in RATES:
            if name in group:
                group[name] = group[name] * factor
        for scheduler in schedulers:
            if scheduler.param_name == 'lr' and hasattr(scheduler, 'base_values'):
                scheduler.base_values[place] *= factor


def keep_branch_rates(optimizer: Optimizer, model: nn.Module) -> None:
    """Let each step follow branches that something else than the pruning hook changed.

    That is ``prune_branches()`` called by hand, or a start from pruned weights.
    """
    if any(BRANCH_LR in group for group in optimizer.param_groups):
        found = find_draws(model)
        optimizer.register_step_pre_hook(
            lambda opt, *_: follow_branches(opt.param_groups, found)
        )


def follow_branches_of_run(runner: Runner) -> None:
    """:func:`follow_branches` for every optimizer of a run.

    Raises:
        ValueError: If a scheduler gives branches the same rates as all others.
    """
    optimizers, schedulers = runner.optim_wrapper, runner.param_schedulers
    if not isinstance(optimizers, OptimWrapperDict):
        optimizers, schedulers = {'': optimizers}, {'': schedulers or []}
    for name, optimizer in optimizers.items():
        groups, own = optimizer.param_groups, (schedulers or {}).get(name, [])
        levels_rates = any(
            isinstance(scheduler, OneCycleParamScheduler) and scheduler.param_name == 'lr'
            for scheduler in own
        )
        if levels_rates and any(BRANCH_LR in group for group in groups):
            raise ValueError(
                f'paramwise_cfg.{BRANCH_LR} has no effect with OneCycleLR, which sets '
                'the rates of all parameters to its eta_max: use another scheduler, or '
                'leave it out.'
            )
        follow_branches(groups, find_draws(runner.model), own)

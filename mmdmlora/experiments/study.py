"""The contenders of the study: when does DMLoRA beat LoRA?

Each contender is searched over twelve combinations: three learning rates, two scales and
two values of what it is about. So LoRA with what regularises it is a contender too, and
no variant of DMLoRA is compared with a LoRA of less search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from .runs import Run
from .spaces import Settings, Space, multiplied

RATE = 'optim_wrapper.optimizer.lr'
SCALE = 'model.backbone.scale'
EPOCHS = 'train_cfg.max_epochs'
DECAY = 'optim_wrapper.optimizer.weight_decay'
BRANCHES = 'model.backbone.num_branches'
PRUNING = 'default_hooks.branch_pruning'
RATES = 'optim_wrapper.paramwise_cfg'
SLOW, FAST = 1 / 3, 1 / 30  # 100 and 10 of 300 epochs


@dataclass(frozen=True)
class Contender:
    """A method with what is searched beside learning rate and scale.

    Attributes:
        method: A file of ``configs/_base_/methods``.
        setting: The key of the third setting.
        values: Its two values; those of the epochs are shares of the schedule's.
        fixed: Settings of all its runs.
        rate: The factor of the suite's learning rates.
    """

    method: str
    setting: str
    values: list[Any]
    fixed: Settings = field(default_factory=dict)
    rate: float = 1.0

    def space(self, rates: tuple[float, ...], run: Run) -> Space:
        """Its twelve combinations, from LoRA's learning rates and a run's schedule."""
        values = self.values
        if self.setting == EPOCHS:
            values = [max(1, round(share * run.max_epochs)) for share in values]
        own = multiplied(rates, self.rate)
        return Space({RATE: own, SCALE: [1.0, 10.0], self.setting: values})


def pruning(interval: float, branches: int = 8, **settings: Any) -> dict:
    """Settings that drop a branch of each kind at each interval before the end."""
    left = max(1, branches - (math.ceil(1 / interval) - 1))
    hook = dict(type='BranchPruningHook', interval=interval, min_branches=left)
    return {**hook, 'criterion': 'random', **settings}


def _smoothing(value: float) -> dict:
    return dict(type='LabelSmoothLoss', label_smooth_val=value, mode='original')


def _averaging(momentum: float) -> list[dict]:
    return [dict(type='EMAHook', momentum=momentum)]


def _batch(
    branches: int = 8, fixed: Settings | None = None, rate: float = 2.0, **hook: Any
) -> Contender:
    """One draw for a batch: each branch moves 1/n as often, so rates are higher."""
    values = [pruning(interval, branches, **hook) for interval in (SLOW, FAST)]
    settings = {BRANCHES: branches, **(fixed or {})}
    return Contender('dmlora-fixed-scale', PRUNING, values, settings, rate)


def _sample(values: list[dict | None], branches: int = 8) -> Contender:
    """A draw for each image: nearly all branches learn in each step."""
    settings = {BRANCHES: branches, 'model.backbone.draws': 'sample'}
    return Contender('dmlora-fixed-scale', PRUNING, values, settings)


def _learned_scale(stages: str) -> Contender:
    return replace(
        _batch(fixed={'default_hooks.learning_scalar.stages': stages}), method='dmlora'
    )


STUDY: dict[str, Contender] = {
    'LoRA': Contender('lora', DECAY, [1e-4, 1e-2]),
    'LoRA, dropout': Contender('lora', 'model.backbone.drop_rate', [0.1, 0.3]),
    'LoRA, weight decay': Contender('lora', DECAY, [0.03, 0.1]),
    'LoRA, label smoothing': Contender(
        'lora', 'model.head.loss', [_smoothing(0.1), _smoothing(0.2)]
    ),
    'LoRA, moving average': Contender(
        'lora', 'custom_hooks', [_averaging(0.1), _averaging(0.03)]
    ),
    'LoRA, fewer epochs': Contender('lora', EPOCHS, [1 / 4, 1 / 2]),
    'LoRA+': Contender('lora', f'{RATES}.up_lr_ratio', [4.0, 16.0]),
    'RepAdapter': Contender('repadapter', DECAY, [1e-4, 1e-2]),
    'DMLoRA': _batch(),
    'DMLoRA-LS': _learned_scale('B'),
    'DMLoRA, a draw for each image': _sample([None, pruning(FAST)]),
    'DMLoRA, a draw for each image, slow pruning': _sample(
        [pruning(SLOW), pruning(2 * SLOW)]
    ),
    'DMLoRA, a draw for each image, 4 branches': _sample([None, pruning(FAST, 4)], 4),
    'DMLoRA, a draw for each image, 16 branches': _sample([None, pruning(FAST, 16)], 16),
    'DMLoRA, not pruned': Contender(
        'dmlora-fixed-scale', DECAY, [1e-4, 1e-2], {PRUNING: None}, rate=2.0
    ),
    'DMLoRA, 4 branches': _batch(4),
    'DMLoRA, 16 branches': _batch(16),
    'DMLoRA, rate by the root of n': _batch(
        fixed={f'{RATES}.branch_lr': 'sqrt'}, rate=1.0
    ),
    'DMLoRA, rate by n': _batch(fixed={f'{RATES}.branch_lr': 'linear'}, rate=1.0),
    'DMLoRA, merging': _batch(criterion='merge'),
    'DMLoRA-LS, reading A': _learned_scale('A'),
    'DMLoRA-LS, reading C': _learned_scale('C'),
    'DMLoRA, consistency': Contender(
        'dmlora-fixed-scale',
        'model.consistency',
        [0.3, 1.0],
        {'model.type': 'ConsistencyClassifier'},
        rate=2.0,
    ),
}
# What the study needs at least.
CORE = (
    *('LoRA', 'LoRA, dropout', 'RepAdapter', 'DMLoRA', 'DMLoRA-LS'),
    'DMLoRA, a draw for each image',
)

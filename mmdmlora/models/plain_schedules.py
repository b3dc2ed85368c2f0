"""Schedules for plain PyTorch loops, which step like PyTorch's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from .argument_checks import is_count
from .methods.dmlora_model import DMLoRAModel
from .methods.low_rank_model import LowRankModel
from .peft_model import find_wrappers
from .pruning import check_criterion
from .schedules import BRANCHES, SCALES, PruningPlan, StagePlan, Words

WORDS = Words(
    unit='steps of the schedule',
    length='total',
    branches='num_branches',
    none='no BranchPruningSchedule',
)
Wrapper = TypeVar('Wrapper', bound=LowRankModel)


class LoopSchedule:
    """What the schedules share: they count steps and apply what is due.

    Args:
        total (int): How often :meth:`step` is called in training: the number of epochs,
            or of iterations.

    Attributes:
        steps_done (int): How often it was called.
    """

    def __init__(self, total: int) -> None:
        if not is_count(total):
            raise ValueError(
                f'total={total!r} is no whole number above 0: give the number of epochs, '
                'or of iterations, after each of which step() is called.'
            )
        self.total = total
        self.steps_done = 0

    def step(self) -> None:
        """Apply what is due; to be called after each epoch (or iteration)."""
        self.steps_done += 1
        self.apply()

    def apply(self) -> None:
        """Bring the model to where the run is."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to hold beside the model's state."""
        return dict(steps_done=self.steps_done)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the state was taken."""
        self.steps_done = state['steps_done']
        self.apply()


class BranchPruningSchedule(LoopSchedule):
    """Drop branches of every adapted layer at regular intervals.

    The plain counterpart of :class:`~mmdmlora.engine.BranchPruningHook`, with the same
    arithmetic: the k-th pruning takes place in the step that completes ``begin + k *
    interval``, and what falls due during the last epoch takes place at its start.

    Args:
        model (nn.Module): A DMLoRA wrapper, or a model that holds some.
        interval (int | float): Epochs (or iterations) between prunings, or a fraction of
            the run.
        total (int): Epochs (or iterations) of the run.
        num_pruned (int): Down branches, and up branches, dropped each time.
            Defaults to 1.
        min_branches (int): Branches in the last epoch. Defaults to 1.
        criterion (str): ``random``, ``norm`` or ``merge``, see
            :meth:`~mmdmlora.models.DMLoRAModel.prune_branches`. Defaults to ``random``.
        begin (int | float): Where intervals are counted from. Defaults to 0.
        averages (Sequence[nn.Module]): Averages of the model, which drop the same
            branches. Defaults to none.

    Raises:
        ValueError: If an argument is out of range, the model has no DMLoRA wrapper, or
            the prunings don't lead to ``min_branches``.

    Note:
        State: the number of steps. The active branches are buffers of the model.

    Example:
        >>> schedule = BranchPruningSchedule(model, interval=1 / 3, total=30)
        >>> for epoch in range(30):
        >>>     train_one_epoch(model)
        >>>     schedule.step()
    """

    def __init__(
        self,
        model: nn.Module,
        interval: float,
        total: int,
        num_pruned: int = 1,
        min_branches: int = 1,
        criterion: str = 'random',
        begin: float = 0,
        averages: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__(total)
        check_criterion(criterion)
        self.models = find_of_kind(model, DMLoRAModel)
        if not self.models:
            raise ValueError(
                'BranchPruningSchedule needs a model with branches: wrap it with '
                "method='dmlora', or leave the schedule out."
            )
        self.averages = averages
        self.plan = PruningPlan(interval, num_pruned, min_branches, begin)
        self.criterion = criterion
        for wrapper in self.models:
            self.plan.check(total, wrapper.total_branches, WORDS)
        self.apply()

    def apply(self) -> None:
        follow_plan(
            self.plan,
            self.criterion,
            self.steps_done,
            self.total,
            self.models,
            self.averages,
        )


class LearningScalarSchedule(LoopSchedule):
    """Choose in stages whether branches, scales or both are trained.

    The plain counterpart of :class:`~mmdmlora.engine.LearningScalarHook`, which explains
    the readings, with the same arithmetic.

    Args:
        model (nn.Module): A LoRA or DMLoRA wrapper with ``learn_scale=True``, or a model
            that holds some.
        total (int): Epochs (or iterations) of the run.
        stages (str | Sequence[str]): A reading, or what each stage trains: ``branches``,
            ``scales`` or ``both``. Defaults to ``'B'``.
        begins (int | float | Sequence[int | float]): Epoch (or iteration), or fraction of
            the run, at which each stage but the first begins. Defaults to 0.5.
        optimizer (torch.optim.Optimizer, optional): If given, it must not apply weight
            decay to the scales.

    Raises:
        ValueError: If an argument is unknown or out of range, no wrapper has trained
            scales, or the optimizer decays them.

    Note:
        State: the number of steps.
    """

    def __init__(
        self,
        model: nn.Module,
        total: int,
        stages: str | Sequence[str] = 'B',
        begins: float | Sequence[float] = 0.5,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        super().__init__(total)
        self.plan = StagePlan(stages, begins)
        self.plan.check(total, WORDS.unit)
        self.models = find_with_scales(model)
        if not self.models:
            raise ValueError(
                'LearningScalarSchedule needs a model with trained scales: wrap it with '
                'learn_scale=True, or leave the schedule out.'
            )
        decay = scale_decay(self.models, optimizer.param_groups) if optimizer else 0
        if decay:
            raise ValueError(
                f'the optimizer applies weight_decay={decay} to the scales: build it '
                'from model.parameter_groups().'
            )
        self.apply()

    def apply(self) -> None:
        train_stage(self.models, self.plan.stage_at(self.steps_done, self.total))


def follow_plan(
    plan: PruningPlan,
    criterion: str,
    step: int,
    length: int,
    models: Sequence[DMLoRAModel],
    averages: Sequence[nn.Module],
) -> list[tuple[int, int]]:
    """Drop what is due at a step of a run.

    Args:
        plan (PruningPlan): When how many branches are left.
        criterion (str): Which are dropped.
        step (int): The step, from 0.
        length (int): Steps of the run.
        models (Sequence[DMLoRAModel]): The wrappers of a model.
        averages (Sequence[nn.Module]): Averages of that model.

    Returns:
        list[tuple[int, int]]: For each wrapper that dropped some its numbers of branches
        before and after.
    """
    of_averages = [find_of_kind(average, DMLoRAModel) for average in averages]
    changes = []
    for place, model in enumerate(models):
        before = model.num_branches
        target = plan.branches_at(step, length, model.total_branches)
        if target < before:
            model.prune_branches(
                before - target,
                criterion,
                plan.min_branches,
                [wrappers[place] for wrappers in of_averages],
            )
            changes.append((before, target))
    return changes


def train_stage(models: Iterable[LowRankModel], stage: str) -> None:
    """Train what a stage says: branches, scales or both."""
    for model in models:
        model.set_trained(branches=stage != SCALES, scales=stage != BRANCHES)


def scale_decay(models: Iterable[LowRankModel], groups: Iterable[dict]) -> float:
    """The weight decay that parameter groups apply to scales; 0 if none."""
    scales = {id(p) for model in models for p in model.scale_parameters()}
    return max(
        (
            group.get('weight_decay', 0)
            for group in groups
            if any(id(p) in scales for p in group['params'])
        ),
        default=0,
    )


def find_with_scales(model: nn.Module) -> list[LowRankModel]:
    """The wrappers in a model that train their scales."""
    return [m for m in find_of_kind(model, LowRankModel) if m.scale_parameters()]


def find_of_kind(model: nn.Module, kind: type[Wrapper]) -> list[Wrapper]:
    """The wrappers of a class in a model."""
    return [wrapper for wrapper in find_wrappers(model) if isinstance(wrapper, kind)]

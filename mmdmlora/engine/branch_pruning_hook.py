"""Dropping branches while training."""

from __future__ import annotations

import math

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdmlora.models.dmlora_model import CRITERIA, DMLoRAModel
from mmdmlora.models.peft_model import find_wrappers
from mmdmlora.registry import HOOKS

from .schedule import to_epochs


@HOOKS.register_module()
class BranchPruningHook(Hook):
    """Drop branches of every adapted layer at regular intervals.

    With n branches at first, epoch e (from 0) is trained with
    ``max(min_branches, n - num_pruned * floor((e - begin) / interval))`` of them.

    Args:
        interval (int | float): The paper's "dropout epoch": epochs between prunings, or
            a fraction of the run. The paper uses 10 or 20 epochs (fast, for VTAB's
            Structured tasks) and 100 or 200 (slow, for Natural and Specialized).
        num_pruned (int): Down branches, and up branches, dropped each time.
            Defaults to 1.
        min_branches (int): What is kept. Defaults to 1.
        criterion (str): ``random``, ``norm`` or ``merge``, see
            :meth:`~mmdmlora.models.DMLoRAModel.prune_branches`. Defaults to ``random``.
        begin (int | float): Epoch, or fraction of the run, from which the intervals are
            counted. Defaults to 0.

    Raises:
        ValueError: If an argument is out of range, or at the start of training if the
            model has no DMLoRA wrapper or fewer branches than ``min_branches``.

    Note:
        - When: ``before_train_epoch``, so that what was trained and evaluated in an
          epoch is what its checkpoint holds.
        - Touches: the active branches of each :class:`~mmdmlora.models.DMLoRAModel` in
          the model. The number to keep follows from the epoch alone, so a resumed run
          goes on where it was.
        - State: none; the active branches are buffers of the model.
        - Priority: NORMAL.
    """

    def __init__(
        self,
        interval: float,
        num_pruned: int = 1,
        min_branches: int = 1,
        criterion: str = 'random',
        begin: float = 0,
    ) -> None:
        if not interval > 0:
            raise ValueError(f'interval={interval} is not positive.')
        if num_pruned < 1 or min_branches < 1:
            raise ValueError(
                f'num_pruned={num_pruned} and min_branches={min_branches} must be >= 1.'
            )
        if criterion not in CRITERIA:
            raise ValueError(f'criterion={criterion!r} is none of {CRITERIA}.')
        self.interval = interval
        self.num_pruned = num_pruned
        self.min_branches = min_branches
        self.criterion = criterion
        self.begin = begin

    def before_train(self, runner: Runner) -> None:
        for model in self._models(runner):
            total = model.total_branches
            if total < self.min_branches:
                raise ValueError(
                    f'min_branches={self.min_branches}, but the model has only {total}.'
                )
            kept = self.target(runner.max_epochs - 1, runner.max_epochs, total)
            runner.logger.info(
                f'Branch pruning ({self.criterion}): {total} branches at first, {kept} '
                f'in the last of {runner.max_epochs} epochs.'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        for model in self._models(runner):
            before = model.num_branches
            target = self.target(runner.epoch, runner.max_epochs, model.total_branches)
            if target < before:
                model.prune_branches(before - target, self.criterion, self.min_branches)
                runner.logger.info(
                    f'Epoch {runner.epoch + 1}: branches {before} -> {target}'
                )

    def target(self, epoch: int, max_epochs: int, total: int) -> int:
        """The number of branches that an epoch (from 0) is trained with."""
        interval = to_epochs(self.interval, max_epochs, 'interval')
        begin = to_epochs(self.begin, max_epochs, 'begin')
        prunings = max(0, math.floor((epoch - begin) / interval + 1e-9))
        return max(min(self.min_branches, total), total - prunings * self.num_pruned)

    @staticmethod
    def _models(runner: Runner) -> list[DMLoRAModel]:
        models = [m for m in find_wrappers(runner.model) if isinstance(m, DMLoRAModel)]
        if not models:
            raise ValueError(
                'BranchPruningHook needs a DMLoRAModel in the model. Remove the hook '
                '(default_hooks.branch_pruning=None) or use that wrapper.'
            )
        return models

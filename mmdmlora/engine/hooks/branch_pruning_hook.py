"""Dropping branches while training."""

from __future__ import annotations

import math
from numbers import Real

from mmengine.hooks import EMAHook, Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

from mmdmlora.engine.schedule import to_epochs
from mmdmlora.models.methods.dmlora_model import CRITERIA, DMLoRAModel
from mmdmlora.models.peft_model import find_wrappers
from mmdmlora.registry import HOOKS

# Of an interval, for fractions such as 1/3 that have no exact value.
TOLERANCE = 1e-9


@HOOKS.register_module()
class BranchPruningHook(Hook):
    """Drop branches of every adapted layer at regular intervals.

    The k-th pruning is due ``begin + k * interval`` epochs after the start. It takes
    place at the start of the next epoch, together with all others that are due by then.
    Prunings that fall due during the last epoch take place at its start. So a schedule
    in fractions ends with the same number of branches in a run of any length. With 8
    branches:

    ======== ========== ===== ============ ====== ======================
    interval num_pruned begin min_branches epochs branches of each epoch
    ======== ========== ===== ============ ====== ======================
    2        1          0     6            6      8 8 7 7 6 6
    2        2          0     4            6      8 8 6 6 4 4
    1        1          2     5            6      8 8 8 7 6 5
    0.25     1          0.5   7            8      8 8 8 8 8 8 7 7
    0.25     1          0.5   7            4      8 8 8 7
    0.25     1          0.5   7            1      7
    ======== ========== ===== ============ ====== ======================

    The schedule must come out even: each pruning drops exactly ``num_pruned`` branches,
    and the last epoch is trained with ``min_branches``.

    - When: ``before_train`` (checks of the schedule) and ``before_train_epoch``, so that
      the checkpoint of an epoch holds the branches that were trained and evaluated in it.
    - Touches: the active branches of each :class:`~mmdmlora.models.DMLoRAModel` in the
      model, and of its averages if an ``EMAHook`` keeps some.
    - State: none. The active branches are buffers of the model, and how many must be left
      follows from the epoch, so a resumed run goes on where it was.
    - Priority: NORMAL.

    Args:
        interval (int | float): The paper's "dropout epoch": epochs between prunings, or
            a fraction of the run. The paper uses 10 or 20 epochs (fast, for VTAB's
            Structured tasks) and 100 or 200 (slow, for Natural and Specialized).
        num_pruned (int): Down branches, and up branches, dropped each time.
            Defaults to 1.
        min_branches (int): Branches in the last epoch. The paper's slow intervals leave
            more than one, for example 6 of 8 with 100 of 300 epochs. Defaults to 1.
        criterion (str): ``random``, ``norm`` or ``merge``, see
            :meth:`~mmdmlora.models.DMLoRAModel.prune_branches`. Defaults to ``random``.
        begin (int | float): Epoch, or fraction of the run, from which the intervals are
            counted. Defaults to 0.

    Raises:
        ValueError: If an argument is out of range, or at the start of training if the
            model has no DMLoRA wrapper or fewer branches than ``min_branches``, if the
            schedule doesn't come out even (the message names settings that do), or if the
            run is counted in iterations.
    """

    def __init__(
        self,
        interval: float,
        num_pruned: int = 1,
        min_branches: int = 1,
        criterion: str = 'random',
        begin: float = 0,
    ) -> None:
        if not (isinstance(interval, Real) and interval > 0):
            raise ValueError(
                f'interval={interval} is no positive number: give epochs as a whole '
                'number, or a fraction of the run such as 0.1.'
            )
        for name, value in (('num_pruned', num_pruned), ('min_branches', min_branches)):
            if not (isinstance(value, int) and value >= 1):
                raise ValueError(f'{name}={value} is no whole number above 0: use one.')
        if criterion not in CRITERIA:
            raise ValueError(
                f'criterion={criterion!r} is unknown: use one of {CRITERIA}.'
            )
        self.interval = interval
        self.num_pruned = num_pruned
        self.min_branches = min_branches
        self.criterion = criterion
        self.begin = begin

    def before_train(self, runner: Runner) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                'BranchPruningHook counts epochs, but the run counts iterations '
                f'(max_iters={runner.max_iters}): use train_cfg=dict(by_epoch=True, '
                'max_epochs=N), or remove the hook.'
            )
        for model in self._models(runner):
            total = model.total_branches
            self.check(runner.max_epochs, total)
            runner.logger.info(
                f'Branch pruning ({self.criterion}): {total} branches at first, '
                f'{self.min_branches} in the last of {runner.max_epochs} epochs.'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        models = self._models(runner)
        averages = [self._wrappers(average) for average in _averages(runner)]
        for place, model in enumerate(models):
            before = model.num_branches
            target = self.target(runner.epoch, runner.max_epochs, model.total_branches)
            if target < before:
                model.prune_branches(
                    before - target,
                    self.criterion,
                    self.min_branches,
                    [wrappers[place] for wrappers in averages],
                )
                runner.logger.info(
                    f'Epoch {runner.epoch + 1}: branches {before} -> {target}'
                )

    def target(self, epoch: int, max_epochs: int, total: int) -> int:
        """The number of branches that an epoch (from 0) is trained with."""
        interval, begin = self._in_epochs(max_epochs)
        if epoch < max_epochs - 1:
            prunings = math.floor((epoch - begin) / interval + TOLERANCE)
        else:
            prunings = math.ceil((max_epochs - begin) / interval - TOLERANCE) - 1
        kept = total - max(0, prunings) * self.num_pruned
        return max(min(self.min_branches, total), kept)

    def check(self, max_epochs: int, total: int) -> None:
        """Refuse a schedule that doesn't drop what it says.

        Args:
            max_epochs (int): Length of the run.
            total (int): Branches at first.

        Raises:
            ValueError: See the class.
        """
        surplus = total - self.min_branches
        if surplus < 0:
            raise ValueError(
                f'min_branches={self.min_branches}, but the model has only {total}: use '
                f'min_branches<{total}, or model.backbone.num_branches>'
                f'{self.min_branches}.'
            )
        if surplus % self.num_pruned:
            divisors = [n for n in range(1, surplus + 1) if surplus % n == 0]
            raise ValueError(
                f'num_pruned={self.num_pruned} does not divide the {surplus} branches '
                f'from {total} down to min_branches={self.min_branches}: the last '
                f'pruning would drop {surplus % self.num_pruned}. Use num_pruned='
                f'{" or ".join(map(str, divisors))}, or min_branches='
                f'{total % self.num_pruned or self.num_pruned}.'
            )
        kept = self.target(max_epochs - 1, max_epochs, total)
        if kept > self.min_branches:
            remedies = self._remedies(max_epochs, surplus // self.num_pruned)
            keep = (
                f'min_branches={kept} to keep them'
                if kept < total
                else 'default_hooks.branch_pruning=None to keep all'
            )
            raise ValueError(
                f'with interval={self.interval:.4g} and begin={self.begin:.4g} pruning '
                f'reaches {kept} of {total} branches by the last of {max_epochs} epochs, '
                f'not min_branches={self.min_branches}: use '
                f'{", or ".join([*remedies, keep])}.'
            )

    def _remedies(self, max_epochs: int, needed: int) -> list[str]:
        """Settings with which ``needed`` prunings fit into the run."""
        _, begin = self._in_epochs(max_epochs)
        remedies = []
        if isinstance(self.interval, int):
            longest = int((max_epochs - 1 - begin) // needed)
            if longest > 0:
                remedies.append(f'interval<={longest}')
            if isinstance(self.begin, int):
                epochs = self.begin + needed * self.interval + 1
                remedies.append(f'train_cfg.max_epochs>={epochs}')
        elif begin < max_epochs:
            limit = (1 - begin / max_epochs) / needed
            digits = 2 - math.floor(math.log10(limit))
            rounded = math.floor(limit * 10**digits) / 10**digits
            remedies.append(f'interval<{rounded:.{digits}f}')
        return remedies

    def _in_epochs(self, max_epochs: int) -> tuple[float, float]:
        return (
            to_epochs(self.interval, max_epochs, 'interval'),
            to_epochs(self.begin, max_epochs, 'begin'),
        )

    @staticmethod
    def _wrappers(model: nn.Module) -> list[DMLoRAModel]:
        return [m for m in find_wrappers(model) if isinstance(m, DMLoRAModel)]

    def _models(self, runner: Runner) -> list[DMLoRAModel]:
        models = self._wrappers(runner.model)
        if not models:
            raise ValueError(
                'BranchPruningHook needs a DMLoRAModel in the model. Remove the hook '
                '(default_hooks.branch_pruning=None) or use that wrapper.'
            )
        return models


def _averages(runner: Runner) -> list[nn.Module]:
    """The averages of the model that EMAHooks keep."""
    return [h.ema_model.module for h in runner.hooks if isinstance(h, EMAHook)]

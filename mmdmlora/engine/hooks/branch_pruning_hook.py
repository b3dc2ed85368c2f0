"""Dropping branches while training."""

from __future__ import annotations

from mmengine.hooks import EMAHook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmdmlora.engine.adapter_rates import follow_branches_of_run
from mmdmlora.models.methods.dmlora_model import DMLoRAModel
from mmdmlora.models.plain_schedules import find_of_kind, follow_plan
from mmdmlora.models.pruning import check_criterion
from mmdmlora.models.schedules import PruningPlan, Words
from mmdmlora.registry import HOOKS

from .scheduled_hook import ScheduledHook


@HOOKS.register_module()
class BranchPruningHook(ScheduledHook):
    """Drop branches of every adapted layer at regular intervals.

    Steps are epochs in a loop by epochs and iterations in a loop by iterations (see
    ``by_epoch``), counted from 0. The k-th pruning is due ``begin + k * interval`` steps
    after the start. It takes place at the start of the next step, together with all
    others that are due by then. Prunings that fall due during the last step take place
    at its start. So a schedule in fractions ends with the same number of branches in a
    run of any length. With 8 branches:

    ======== ========== ===== ============ ====== ======================
    interval num_pruned begin min_branches steps  branches of each step
    ======== ========== ===== ============ ====== ======================
    2        1          0     6            6      8 8 7 7 6 6
    2        2          0     4            6      8 8 6 6 4 4
    1        1          2     5            6      8 8 8 7 6 5
    0.25     1          0.5   7            8      8 8 8 8 8 8 7 7
    0.25     1          0.5   7            4      8 8 8 7
    0.25     1          0.5   7            1      7
    ======== ========== ===== ============ ====== ======================

    The schedule must come out even: each pruning drops exactly ``num_pruned`` branches,
    and the last step is trained with ``min_branches``.

    - When: ``before_train`` (checks of the schedule) and ``before_train_epoch`` or
      ``before_train_iter``, so that the checkpoint of a step holds the branches that were
      trained and evaluated in it.
    - Touches: the active branches of each :class:`~mmdmlora.models.DMLoRAModel` in the
      model, and of its averages if an ``EMAHook`` keeps some. With ``branch_lr`` the
      rates of the branches' parameter groups and what schedulers compute them from, see
      :class:`~mmdmlora.engine.PEFTOptimWrapperConstructor`.
    - State: none. The active branches are buffers of the model, and how many must be left
      follows from the step, so a resumed run goes on where it was.
    - Priority: NORMAL.

    Args:
        interval (int | float): The paper's "dropout epoch": steps between prunings, or
            a fraction of the run. The paper uses 10 or 20 epochs (fast, for VTAB's
            Structured tasks) and 100 or 200 (slow, for Natural and Specialized).
        num_pruned (int): Down branches, and up branches, dropped each time.
            Defaults to 1.
        min_branches (int): Branches in the last step. The paper's slow intervals leave
            more than one, for example 6 of 8 with 100 of 300 epochs. Defaults to 1.
        criterion (str): ``random``, ``norm`` or ``merge``, see
            :meth:`~mmdmlora.models.DMLoRAModel.prune_branches`. Defaults to ``random``.
        begin (int | float): Step, or fraction of the run, from which the intervals are
            counted. Defaults to 0.
        by_epoch (bool, optional): Whether a step is an epoch (True) or an iteration
            (False). None means what the training loop counts. Defaults to None.

    Raises:
        ValueError: If an argument is out of range, or at the start of training if the
            model has no DMLoRA wrapper or fewer branches than ``min_branches``, if the
            schedule doesn't come out even (the message names settings that do), if
            ``by_epoch`` is True in a run by iterations, or if ``branch_lr`` meets a
            scheduler that gives all parameters one rate.
    """

    def __init__(
        self,
        interval: float,
        num_pruned: int = 1,
        min_branches: int = 1,
        criterion: str = 'random',
        begin: float = 0,
        by_epoch: bool | None = None,
    ) -> None:
        super().__init__(by_epoch)
        check_criterion(criterion)
        self.plan = PruningPlan(interval, num_pruned, min_branches, begin)
        self.criterion = criterion

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        length = self.length(runner)
        words = Words(unit=self.unit, length=self._setting(runner))
        follow_branches_of_run(runner)
        for model in self._models(runner):
            total = model.total_branches
            self.plan.check(length, total, words)
            runner.logger.info(
                f'Branch pruning ({self.criterion}): {total} branches at first, '
                f'{self.plan.min_branches} in the last of {length} {self.unit}.'
            )

    def at_step(self, runner: Runner, step: int) -> None:
        changes = follow_plan(
            self.plan,
            self.criterion,
            step,
            self.length(runner),
            self._models(runner),
            [h.ema_model.module for h in runner.hooks if isinstance(h, EMAHook)],
        )
        if changes:
            follow_branches_of_run(runner)
        for before, after in changes:
            runner.logger.info(f'{self.step_name(step)}: branches {before} -> {after}')

    def _setting(self, runner: Runner) -> str | None:
        """What sets the number of steps."""
        if self._counts_epochs:
            return 'train_cfg.max_epochs'
        is_loop_unit = isinstance(runner.train_loop, IterBasedTrainLoop)
        return 'train_cfg.max_iters' if is_loop_unit else None

    def _models(self, runner: Runner) -> list[DMLoRAModel]:
        models = find_of_kind(runner.model, DMLoRAModel)
        if not models:
            raise ValueError(
                'BranchPruningHook needs a DMLoRAModel in the model. Remove the hook '
                '(default_hooks.branch_pruning=None) or use that wrapper.'
            )
        return models

"""The two-stage learning scalar (LS)."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.runner import Runner

from mmdmlora.models.methods.low_rank_model import LowRankModel
from mmdmlora.models.plain_schedules import find_with_scales, scale_decay, train_stage
from mmdmlora.models.schedules import StagePlan
from mmdmlora.registry import HOOKS

from .scheduled_hook import ScheduledHook


@HOOKS.register_module()
class LearningScalarHook(ScheduledHook):
    """Choose in stages whether branches, scales or both are trained.

    The paper optimises the scale of each adapted layer in two stages from an initial
    value of 1 or 10 and publishes no details. This project's readings of it:

    ======= ======================== ================================
    reading first stage              second stage
    ======= ======================== ================================
    A       branches and scales      scales
    B       branches and scales      branches
    C       branches, fixed scale    branches and scales
    ======= ======================== ================================

    B is the default: the scale is found while the learning rate is high, and the branches
    then converge with that scale. In a small trial B and C were equal, and A was worse
    because its branches stop training.

    - When: ``before_train`` (checks) and ``before_train_epoch`` or ``before_train_iter``.
    - Touches: what optimizer steps change
      (:meth:`~mmdmlora.models.methods.low_rank_model.LowRankModel.set_trained`).
    - State: none. The stage follows from the epoch or iteration.
    - Priority: NORMAL.

    Args:
        stages (str | Sequence[str]): A reading, or what each stage trains: ``branches``,
            ``scales`` or ``both``. Defaults to ``'B'``.
        begins (int | float | Sequence[int | float]): Epoch (in a loop by iterations:
            iteration), counted from 0, or fraction of the run, at which each stage but
            the first begins. Defaults to ``(0.5, )``.
        by_epoch (bool, optional): Whether whole numbers count epochs (True) or iterations
            (False). None means what the training loop counts. Defaults to None.

    Raises:
        ValueError: If an argument is unknown or out of range, or at the start of
            training if no wrapper in the model has trainable scales
            (``learn_scale=True``), the optimizer would apply weight decay to them, or
            ``by_epoch`` is True in a run by iterations.
    """

    def __init__(
        self,
        stages: str | Sequence[str] = 'B',
        begins: float | Sequence[float] = (0.5,),
        by_epoch: bool | None = None,
    ) -> None:
        super().__init__(by_epoch)
        self.plan = StagePlan(stages, begins)
        self._current: str | None = None

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self._current = None
        self.plan.check(self.length(runner), self.unit)
        decay = scale_decay(self._models(runner), runner.optim_wrapper.param_groups)
        if decay:
            raise ValueError(
                f'the optimizer applies weight_decay={decay} to the scales: set '
                "optim_wrapper.constructor='mmdmlora.PEFTOptimWrapperConstructor'."
            )

    def at_step(self, runner: Runner, step: int) -> None:
        stage = self.plan.stage_at(step, self.length(runner))
        if stage == self._current:
            return
        train_stage(self._models(runner), stage)
        runner.logger.info(f'{self.step_name(step)}: trains {stage}')
        self._current = stage

    @staticmethod
    def _models(runner: Runner) -> list[LowRankModel]:
        models = find_with_scales(runner.model)
        if not models:
            raise ValueError(
                'LearningScalarHook needs a wrapper with trainable scales: set '
                'learn_scale=True in the model, or remove the hook '
                '(default_hooks.learning_scalar=None).'
            )
        return models

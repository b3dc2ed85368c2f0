"""The two-stage learning scalar (LS)."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.runner import Runner

from mmdmlora.engine.schedule import find_stage, to_steps
from mmdmlora.models.methods.low_rank_model import LowRankModel
from mmdmlora.models.peft_model import find_wrappers
from mmdmlora.registry import HOOKS

from .scheduled_hook import ScheduledHook

BOTH, BRANCHES, SCALES = 'both', 'branches', 'scales'
READINGS = {
    'A': (BOTH, SCALES),
    'B': (BOTH, BRANCHES),
    'C': (BRANCHES, BOTH),
}


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
        if isinstance(stages, str):
            if stages not in READINGS:
                raise ValueError(f'stages={stages!r} is none of {list(READINGS)}.')
            stages = READINGS[stages]
        if not isinstance(stages, Sequence):
            raise ValueError(f'stages={stages!r} is neither a reading nor a list.')
        unknown = [s for s in stages if s not in (BOTH, BRANCHES, SCALES)]
        if unknown:
            raise ValueError(
                f'unknown stages {unknown}: a stage trains '
                f'{BRANCHES!r}, {SCALES!r} or {BOTH!r}.'
            )
        begins = tuple(begins) if isinstance(begins, Sequence) else (begins,)
        if len(begins) != len(stages) - 1:
            raise ValueError(
                f'{len(stages)} stages need {len(stages) - 1} begins, not {begins!r}.'
            )
        self.stages = tuple(stages)
        self.begins = begins
        self._current: str | None = None

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self._current = None
        begins = self._begins(runner)
        if begins != sorted(begins):
            raise ValueError(f'begins={self.begins!r} is not in ascending order.')
        scales = {
            id(p) for model in self._models(runner) for p in model.scale_parameters()
        }
        for group in runner.optim_wrapper.param_groups:
            decay = group.get('weight_decay', 0)
            if decay and any(id(p) in scales for p in group['params']):
                raise ValueError(
                    f'the optimizer applies weight_decay={decay} to the scales: set '
                    "optim_wrapper.constructor='mmdmlora.PEFTOptimWrapperConstructor'."
                )

    def at_step(self, runner: Runner, step: int) -> None:
        stage = self.stages[find_stage(self._begins(runner), step)]
        if stage == self._current:
            return
        for model in self._models(runner):
            model.set_trained(branches=stage != SCALES, scales=stage != BRANCHES)
        runner.logger.info(f'{self.step_name(step)}: trains {stage}')
        self._current = stage

    def _begins(self, runner: Runner) -> list[float]:
        length = self.length(runner)
        return [to_steps(b, length, 'begins', self.unit) for b in self.begins]

    @staticmethod
    def _models(runner: Runner) -> list[LowRankModel]:
        models = [
            model
            for model in find_wrappers(runner.model)
            if isinstance(model, LowRankModel) and model.scale_parameters()
        ]
        if not models:
            raise ValueError(
                'LearningScalarHook needs a wrapper with trainable scales: set '
                'learn_scale=True in the model, or remove the hook '
                '(default_hooks.learning_scalar=None).'
            )
        return models

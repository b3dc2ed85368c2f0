"""The two-stage learning scalar (LS)."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdmlora.engine.schedule import to_epochs
from mmdmlora.models.methods.low_rank_model import LowRankModel
from mmdmlora.models.peft_model import find_wrappers
from mmdmlora.registry import HOOKS

BOTH, BRANCHES, SCALES = 'both', 'branches', 'scales'
READINGS = {
    'A': (BOTH, SCALES),
    'B': (BOTH, BRANCHES),
    'C': (BRANCHES, BOTH),
}


@HOOKS.register_module()
class LearningScalarHook(Hook):
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

    - When: ``before_train`` (checks) and ``before_train_epoch``.
    - Touches: what optimizer steps change
      (:meth:`~mmdmlora.models.methods.low_rank_model.LowRankModel.set_trained`).
    - State: none. The stage follows from the epoch.
    - Priority: NORMAL.

    Args:
        stages (str | Sequence[str]): A reading, or what each stage trains: ``branches``,
            ``scales`` or ``both``. Defaults to ``'B'``.
        begins (int | float | Sequence[int | float]): Epoch, or fraction of the run, at
            which each stage but the first begins. Defaults to ``(0.5, )``.

    Raises:
        ValueError: If an argument is unknown or out of range, or at the start of
            training if no wrapper in the model has trainable scales
            (``learn_scale=True``) or the optimizer would apply weight decay to them.
    """

    def __init__(
        self,
        stages: str | Sequence[str] = 'B',
        begins: float | Sequence[float] = (0.5,),
    ) -> None:
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
        self._current = None
        epochs = self._epochs(runner)
        if epochs != sorted(epochs):
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

    def before_train_epoch(self, runner: Runner) -> None:
        stage = self.stages[sum(begin <= runner.epoch for begin in self._epochs(runner))]
        for model in self._models(runner):
            model.set_trained(branches=stage != SCALES, scales=stage != BRANCHES)
        if stage != self._current:
            runner.logger.info(f'Epoch {runner.epoch + 1}: trains {stage}')
            self._current = stage

    def _epochs(self, runner: Runner) -> list[float]:
        return [to_epochs(b, runner.max_epochs, 'begins') for b in self.begins]

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

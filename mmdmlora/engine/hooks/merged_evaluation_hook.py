"""Evaluation at the cost of the plain backbone."""

from __future__ import annotations

from contextlib import ExitStack

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdmlora.models.peft_model import find_wrappers
from mmdmlora.registry import HOOKS


@HOOKS.register_module()
class MergedEvaluationHook(Hook):
    """Validate and test with the adapters folded into the weights.

    Each validation and test folds the weights anew, as
    :meth:`~mmdmlora.models.peft_model.PEFTModel.folded` does. So it measures what the
    merged model gives, and costs what the backbone alone costs. Methods that can't be
    merged are evaluated as they are, and one line of the log says why.

    - When: ``before_val_epoch``, ``after_val_epoch``, and the same for tests.
    - Touches: what evaluation computes with. Parameters, buffers and checkpoints stay as
      they are.
    - State: none that lasts. After an evaluation that has failed, ``train()`` ends it.
    - Priority: LOW: after averaged weights were swapped in (``EMAHook``), and before
      checkpoints are written.
    """

    priority = 'LOW'

    def __init__(self) -> None:
        self._folded = ExitStack()
        self._has_told = False

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        if mode == 'train':
            return
        self._folded.close()
        for wrapper in find_wrappers(runner.model):
            try:
                self._folded.enter_context(wrapper.folded())
            except ValueError as error:
                if not self._has_told:
                    runner.logger.info(f'Evaluating without merging: {error}')
                self._has_told = True

    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        self._folded.close()

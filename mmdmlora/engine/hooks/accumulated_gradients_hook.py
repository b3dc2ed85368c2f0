"""Gradients that are accumulated across a checkpoint."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdmlora.engine.unwrapped_model import unwrapped
from mmdmlora.registry import HOOKS

GRADIENTS = 'accumulated_gradients'


@HOOKS.register_module()
class AccumulatedGradientsHook(Hook):
    """Save the gradients of an accumulation that a checkpoint interrupts.

    With ``accumulative_counts`` that doesn't divide the number of steps before a
    checkpoint, the next update needs gradients from before it. mmengine drops them, so
    that a resumed run differs. In a distributed run each process has gradients of its
    own, of which the checkpoint can hold those of the main process only:
    :class:`~mmdmlora.engine.EpochSeedHook` warns at the start.

    - When: ``before_save_checkpoint`` and, in a run that resumes,
      ``after_load_checkpoint``.
    - Touches: adds ``accumulated_gradients`` to the checkpoint where there are some, and
      sets the parameters' gradients.
    - State: in the checkpoint.
    - Priority: NORMAL.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        gradients = {
            name: parameter.grad.cpu()
            for name, parameter in unwrapped(runner.model).named_parameters()
            if parameter.grad is not None
        }
        if gradients:
            checkpoint[GRADIENTS] = gradients

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        gradients = checkpoint.pop(GRADIENTS, {})
        if not (gradients and runner._resume):
            return
        for name, parameter in unwrapped(runner.model).named_parameters():
            if name in gradients:
                parameter.grad = gradients[name].to(parameter)
        runner.logger.info(
            'The gradients accumulated before the checkpoint are restored: none is lost.'
        )

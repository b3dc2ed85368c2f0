"""Losses in the log without waiting for the device in each step."""

from __future__ import annotations

from mmengine.hooks import RuntimeInfoHook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner
from torch import Tensor

from mmdmlora.engine.deferred_history import DeferredHistory
from mmdmlora.registry import HOOKS


@HOOKS.register_module()
class DeferredInfoHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook``, which reads the losses when they are logged.

    The original reads every loss in every step, and a GPU has nothing to do meanwhile.
    Here they stay on the device until a hook reads their history: the ``LoggerHook`` at
    its interval, checkpoints. What is logged and saved is the same.

    - When: as the original.
    - Touches: the message hub; the histories of ``train/loss`` and of the other outputs
      of a step become :class:`~mmdmlora.engine.deferred_history.DeferredHistory`.
    - State: none beside the message hub.
    - Priority: VERY_HIGH, as the original.

    Note:
        ``optim_wrapper.clip_grad`` and ``AmpOptimWrapper`` still wait in each step: the
        one logs the norm of the gradients, the other has to know whether to skip.
    """

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        hub = runner.message_hub
        for name, value in (outputs or {}).items():
            key = f'train/{name}'
            if not isinstance(value, Tensor):
                hub.update_scalar(key, value)
                continue
            history = hub.log_scalars.get(key)
            if history is None:
                hub.update_scalar(key, 0.0)  # lets the hub save this key
                history = HistoryBuffer()
            if not isinstance(history, DeferredHistory):
                history = hub.log_scalars[key] = DeferredHistory(history)
            history.defer(value)

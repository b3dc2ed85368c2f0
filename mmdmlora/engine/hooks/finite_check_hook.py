"""Stopping at NaN, before it reaches a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner
from torch import Tensor

from mmdmlora.engine.deferred_history import DeferredHistory
from mmdmlora.engine.unwrapped_model import unwrapped
from mmdmlora.registry import HOOKS

STATE_DICTS = ('state_dict', 'ema_state_dict')


@HOOKS.register_module()
class FiniteCheckHook(Hook):
    """End a training whose loss or weights are NaN or infinite, with the last good file.

    mmengine goes on to the last epoch, and overwrites the last good checkpoint.

    - When: ``before_train`` (notes what isn't finite), ``after_train_iter`` (the losses,
      as soon as they were logged), ``after_train_epoch`` (the losses and the trained
      weights) and ``before_save_checkpoint`` (all that is saved, the average of an
      ``EMAHook`` too). Losses that :class:`~mmdmlora.engine.hooks.DeferredInfoHook` has
      left on the device aren't fetched before, so no step waits for it because of this.
    - Touches: nothing. Tensors that aren't finite before the first step, such as masks of
      ``-inf``, may be saved.
    - State: none that lasts.
    - Priority: LOW: after the hooks that log the loss and exchange the weights with
      their average, before the one that saves.

    Raises:
        ValueError: Naming when, the loss, the learning rate, the last good checkpoint
            and what to do. In a distributed run whose weights are bad too, it is raised
            at the next check, when every process sees a bad loss: a process that ended
            alone would leave the others waiting.
    """

    priority = 'LOW'

    def __init__(self) -> None:
        self._first: str | None = None
        self._checked = 0
        self._exempt: frozenset[str] = frozenset()

    def before_train(self, runner: Runner) -> None:
        self._first = None
        self._checked = runner.iter
        self._exempt = frozenset(_not_finite(unwrapped(runner.model).state_dict()))

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        losses = runner.message_hub.log_scalars.get('train/loss')
        if isinstance(losses, DeferredHistory) and losses.pending:
            return
        postponed = self._first is not None
        self._first = self._first or self._find_bad_loss(runner, runner.iter + 1)
        if self._first and (
            postponed or get_world_size() == 1 or not _broken_weights(runner)
        ):
            raise ValueError(f'{self._first}. {_remedy(runner)}')

    def after_train_epoch(self, runner: Runner) -> None:
        found = self._first or self._find_bad_loss(runner, runner.iter)
        if names := _broken_weights(runner):
            found = found or (
                f'{names[0]} is not finite at the end of epoch {runner.epoch + 1}'
                f'{_at_rate(runner)}'
            )
        if found:
            raise ValueError(f'{found}. {_remedy(runner)}')

    def _find_bad_loss(self, runner: Runner, finished: int) -> str | None:
        """Where the first loss since the last check is that isn't finite.

        Args:
            runner: The runner.
            finished: Number of iterations whose losses are logged.
        """
        count, self._checked = finished - self._checked, finished
        losses = runner.message_hub.log_scalars.get('train/loss')
        if losses is None or count < 1:
            return None
        values = losses.data[0][-count:]
        bad = np.flatnonzero(~np.isfinite(values))
        if not bad.size:
            return None
        behind = len(values) - int(bad[0])
        return (
            f'the loss is {values[bad[0]]} in iteration {finished + 1 - behind} (epoch '
            f'{runner.epoch + 1}){_at_rate(runner, behind)}'
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        for key in STATE_DICTS:
            for name in _not_finite(checkpoint.get(key, {})):
                if name not in self._exempt:
                    raise ValueError(
                        f'{name} is not finite{_at_rate(runner)}: nothing is saved. '
                        f'{_remedy(runner)}'
                    )


def _not_finite(state: dict[str, Tensor]) -> list[str]:
    """Names of floating tensors that hold NaN or infinity."""
    alike: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel():
            alike.setdefault((tensor.device, tensor.dtype), {})[name] = tensor.detach()
    names: set[str] = set()
    for tensors in alike.values():
        largest = torch._foreach_norm(list(tensors.values()), float('inf'))
        # One copy from the device for all.
        finite = torch.stack(largest).isfinite().tolist()
        names |= {name for name, ok in zip(tensors, finite, strict=True) if not ok}
    return [name for name in state if name in names]


def _broken_weights(runner: Runner) -> list[str]:
    trained = (
        item
        for item in unwrapped(runner.model).named_parameters()
        if item[1].requires_grad
    )
    return _not_finite(dict(trained))


def _at_rate(runner: Runner, behind: int = 1) -> str:
    """The learning rate of the last step, or of one behind it."""
    rates = runner.message_hub.log_scalars.get('train/lr')
    return (
        '' if rates is None else f', at a learning rate of {rates.data[0][-behind]:.4g}'
    )


def _remedy(runner: Runner) -> str:
    lower = (
        'Lower the learning rate (optim_wrapper.optimizer.lr) or clip the gradients '
        '(optim_wrapper.clip_grad.max_norm=1.0)'
    )
    if isinstance(runner.optim_wrapper, AmpOptimWrapper):
        lower += ', or leave out --amp'
    pointer = Path(runner.work_dir, 'last_checkpoint')
    last = Path(pointer.read_text().strip()) if pointer.is_file() else None
    if last is None or not last.is_file():
        return f'There is no checkpoint yet. {lower}, and start again.'
    return (
        f'The last good checkpoint is kept: {last}. {lower}, and start again, or from '
        'its weights with load_from; --resume would repeat the same steps.'
    )

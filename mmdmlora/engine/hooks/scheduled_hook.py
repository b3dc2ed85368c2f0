"""Acting at points of a run, in loops by epochs and by iterations."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import IterBasedTrainLoop, Runner


class ScheduledHook(Hook):
    """What hooks share whose schedule counts epochs or iterations.

    A derived hook says what to do in :meth:`at_step`, which is called at the start of
    each step. A step is what whole numbers in a schedule count: an epoch or an iteration.

    - When: ``before_train`` (finds out what a step is), ``before_train_epoch`` or
      ``before_train_iter``.
    - Touches: nothing.
    - State: none.
    - Priority: NORMAL.

    Args:
        by_epoch (bool, optional): Whether a step is an epoch. None means what the
            training loop counts. False in a loop by epochs acts inside of epochs, too.
            Defaults to None.

    Raises:
        ValueError: At the start of training if ``by_epoch`` is True in a loop by
            iterations, which has no epochs.
    """

    def __init__(self, by_epoch: bool | None = None) -> None:
        self.by_epoch = by_epoch
        self._counts_epochs = True

    def before_train(self, runner: Runner) -> None:
        has_epochs = not isinstance(runner.train_loop, IterBasedTrainLoop)
        if self.by_epoch and not has_epochs:
            raise ValueError(
                f'{type(self).__name__} has by_epoch=True, but the run counts iterations '
                f'(max_iters={runner.max_iters}): leave by_epoch out, and give whole '
                'numbers as iterations.'
            )
        self._counts_epochs = has_epochs if self.by_epoch is None else self.by_epoch

    def before_train_epoch(self, runner: Runner) -> None:
        if self._counts_epochs:
            self.at_step(runner, runner.epoch)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        if not self._counts_epochs:
            self.at_step(runner, runner.iter)

    def at_step(self, runner: Runner, step: int) -> None:
        """Act where something is due; ``step`` counts from 0."""
        raise NotImplementedError

    @property
    def unit(self) -> str:
        return 'epochs' if self._counts_epochs else 'iterations'

    def length(self, runner: Runner) -> int:
        """The number of steps of the run."""
        return runner.max_epochs if self._counts_epochs else runner.max_iters

    def step_name(self, step: int) -> str:
        """The step as the log counts: from 1."""
        return f'{"Epoch" if self._counts_epochs else "Iteration"} {step + 1}'

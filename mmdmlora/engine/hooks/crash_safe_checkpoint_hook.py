"""Checkpoints that outlive a kill at any moment and a full disk."""

from __future__ import annotations

import bisect
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import (
    barrier,
    broadcast_object_list,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mmdmlora.engine.duration import seconds_of
from mmdmlora.engine.last_checkpoint import POINTER, point, repair_pointer, step_of
from mmdmlora.io import LateRemoval, atomic_backend_args, remove_partial_files
from mmdmlora.registry import HOOKS

# By iteration several processes ask each other only that often.
LOOK_EVERY = 50

# Entries of the message hub; it logs those whose names begin with 'val'.
SUPERSEDED = 'superseded_ckpts'
UNVALIDATED = 'pending_validation'


@HOOKS.register_module()
class CrashSafeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, made to survive a kill at any moment.

    It takes the same arguments and writes the same files. What differs:

    - Intervals: ``interval`` may be a time, ``'60s'``, ``'5min'`` or ``'1h'``. The last
      checkpoint is then written at the first end of an epoch by which so much time has
      passed since the one before it, with each new best one, and at the end. So a kill
      costs at most that time and the epoch that was running. By iteration: at the end
      of an iteration, in several processes of every 50th, as they have to agree.
    - Writing: a file is written beside its place and moved there when it is whole.
    - Removing: an old file goes when the new one is whole and ``last_checkpoint`` names
      it. So with ``max_keep_ckpts=1`` one checkpoint is there at every moment.
    - Validating: the checkpoint of an epoch is written before its validation and records
      that this is due. A run that resumes from it validates first. With mmengine's hook
      that validation, and a best checkpoint from it, would be lost. The same holds for
      iterations.
    - Resuming: if ``last_checkpoint`` names a file that can't be loaded, a run that looks
      for its last checkpoint takes the newest file that can be loaded.
    - Starting anew: ``last_checkpoint`` of an earlier run in the same folder is
      removed. Otherwise that run would be resumed if this one died before its first
      checkpoint. The earlier checkpoints stay.
    - Cleaning up: the next start removes what a kill left behind. A run that goes on from
      ``last_checkpoint`` also removes checkpoints of later steps: it will compute these
      steps again, and not necessarily write a file there.

    Whatever a checkpoint says, the hook removes files in its own folder only, and only
    those with names that it could have given.

    - When: as the original, and ``before_run``, ahead of the Runner's resumption.
    - Touches: the checkpoints in ``work_dir`` (``out_dir``).
    - State: in the message hub, as the original; also the files that the newest
      checkpoint replaces, and whether its validation is due.
    - Priority: VERY_LOW, as the original.

    Args:
        interval (int | str): A number of epochs or iterations, or a time. Defaults to -1:
            at the end only.
        *args: As in mmengine.
        **kwargs: As in mmengine.

    Raises:
        ValueError: If ``interval`` is a text that is no time, no checkpoint can be loaded
            on resuming, or the validation doesn't give the metric that ``save_best``
            names.
    """

    def __init__(self, interval: int | str = -1, *args: Any, **kwargs: Any) -> None:
        self._seconds = seconds_of(interval) if isinstance(interval, str) else None
        steps = interval if self._seconds is None else 1
        super().__init__(steps, *args, **kwargs)
        self._saved_at = time.monotonic()
        self._goes_on_from_last = False

    def before_run(self, runner: Runner) -> None:
        # The Runner's own condition for looking for a checkpoint.
        searches = runner._resume and runner._load_from is None
        if searches and is_main_process():
            work_dir = Path(runner.work_dir)
            folders = [work_dir]
            if self.out_dir is not None:
                folders.append(Path(self.out_dir, work_dir.resolve().name))
            is_repaired = repair_pointer(work_dir, folders, self.filename_tmpl)
            self._goes_on_from_last = not is_repaired
        barrier()

    def before_train(self, runner: Runner) -> None:
        hub = runner.message_hub
        super().before_train(runner)
        self._saved_at = time.monotonic()
        if '://' not in self.out_dir:
            if not self.file_client_args and not self.backend_args:
                self.backend_args = atomic_backend_args()
            self._adopt_recorded(runner)
            if is_main_process():
                self._clean_up(runner)
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            runner.logger.warning(
                'The run counts iterations, but default_hooks.checkpoint.by_epoch=True '
                'writes its checkpoint at the end: a run that is killed is lost. Set '
                'by_epoch=False and interval to a number of iterations.'
            )
        if hub.get_info(UNVALIDATED) and runner.val_loop is not None:
            runner.logger.info(
                'The checkpoint was written before its validation: validating first.'
            )
            # Where the run was when it would have validated.
            hub.update_info('epoch', max(0, runner.epoch - 1))
            hub.update_info('iter', runner.iter - 1)
            runner.val_loop.run()

    def after_train_epoch(self, runner: Runner) -> None:
        _note_validation(runner, EpochBasedTrainLoop)
        with self._removing_last():
            super().after_train_epoch(runner)

    def after_train_iter(self, runner: Runner, batch_idx, data_batch=None, outputs=None):
        if not self.by_epoch:
            _note_validation(runner, IterBasedTrainLoop)
            with self._removing_last():
                super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        metrics = metrics or {}
        wanted = set(self.save_best or ()) - {'auto'}
        if metrics and not wanted <= set(metrics):
            raise ValueError(
                f'save_best={self.save_best}, but the validation gives {[*metrics]}: '
                'name one of these (default_hooks.checkpoint.save_best), or None.'
            )
        runner.message_hub.update_info(UNVALIDATED, False)
        with self._removing_last():
            super().after_val_epoch(runner, metrics)

    def every_n_epochs(self, runner: Runner, n: int, start: int = 0) -> bool:
        if self._seconds is None:
            return super().every_n_epochs(runner, n, start)
        return runner.epoch + 1 >= start and self._time_is_up()

    def every_n_train_iters(self, runner: Runner, n: int, start: int = 0) -> bool:
        if self._seconds is None:
            return super().every_n_train_iters(runner, n, start)
        number = runner.iter + 1
        looks = get_world_size() == 1 or number % LOOK_EVERY == 0
        return looks and number >= start and self._time_is_up()

    def _time_is_up(self) -> bool:
        """Whether the interval has passed; every process takes the first one's answer."""
        assert self._seconds is not None
        answer = [time.monotonic() - self._saved_at >= self._seconds]
        broadcast_object_list(answer)
        return answer[0]

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Write the last checkpoint, then let ``last_checkpoint`` name it.

        The original writes ``last_checkpoint`` in place: killed then, it's empty.
        """
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                old = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
                self.file_backend.remove(self.file_backend.join_path(self.out_dir, old))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            point(Path(runner.work_dir, POINTER), self.last_ckpt)
        self._saved_at = time.monotonic()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        late = getattr(self, 'file_backend', None)
        names = [Path(path).name for path in getattr(late, 'removed', [])]
        checkpoint['message_hub']['runtime_info'][SUPERSEDED] = names

    @contextmanager
    def _removing_last(self) -> Iterator[None]:
        """Put off removals to the end of the block; after an error, remove nothing."""
        backend = self.file_backend
        self.file_backend = late = LateRemoval(backend)
        try:
            yield
        finally:
            self.file_backend = backend
        if is_main_process():
            for path in late.removed:
                if backend.isfile(path):
                    backend.remove(path)

    def _step_of(self, name: object) -> int | None:
        return step_of(name, self.filename_tmpl)

    def _clean_up(self, runner: Runner) -> None:
        """Remove what earlier runs left behind by dying."""
        remove_partial_files(self.out_dir)
        for name in runner.message_hub.get_info(SUPERSEDED, []):
            if self._step_of(name) is not None:
                Path(self.out_dir, name).unlink(missing_ok=True)
        if runner.iter == 0:
            Path(runner.work_dir, POINTER).unlink(missing_ok=True)
        elif self._goes_on_from_last:
            now = runner.epoch if self.by_epoch else runner.iter
            for file in Path(self.out_dir).glob('*'):
                if (self._step_of(file.name) or 0) > now:
                    file.unlink()

    def _adopt_recorded(self, runner: Runner) -> None:
        """Take the recorded checkpoints for the files of their names in the own folder.

        Their paths are those of another folder if the run was moved, and of another
        run's files if its checkpoint was resumed here.
        """

        def adopt(key: str) -> str | None:
            name = Path(str(runner.message_hub.get_info(key))).name
            if self._step_of(name) is None:
                return None
            own = self.file_backend.join_path(self.out_dir, name)
            if self.file_backend.isfile(own):
                runner.message_hub.update_info(key, own)
            return own

        self.last_ckpt = adopt('last_ckpt')
        if self.save_best and len(self.key_indicators) == 1:
            self.best_ckpt_path = adopt('best_ckpt')
        elif self.save_best:
            for name in self.key_indicators:
                self.best_ckpt_path_dict[name] = adopt(f'best_ckpt_{name}')


def _note_validation(runner: Runner, loop_type: type) -> None:
    """Note for the checkpoint whether a validation follows this epoch or iteration."""
    loop = runner.train_loop
    follows = False
    if isinstance(loop, loop_type) and runner.val_loop is not None:
        is_epoch = loop_type is EpochBasedTrainLoop
        done, last = (
            (loop.epoch + 1, loop.max_epochs)
            if is_epoch
            else (loop.iter + 1, loop.max_iters)
        )
        position = bisect.bisect(loop.dynamic_milestones, done + 1)
        interval = loop.dynamic_intervals[position - 1]
        follows = done >= loop.val_begin and (done % interval == 0 or done == last)
    runner.message_hub.update_info(UNVALIDATED, follows)

"""Checkpoints that outlive a kill at any moment and a full disk."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mmdmlora.engine.checkpoint_files import POINTER, CheckpointFiles, point
from mmdmlora.engine.time_interval import TimeInterval
from mmdmlora.io import (
    Journal,
    LateRemoval,
    atomic_backend_args,
    remove_partial_files,
)
from mmdmlora.registry import HOOKS

JOURNAL = '.changing_checkpoints'
# Of the message hub, which logs entries whose names begin with 'val'.
UNVALIDATED = 'pending_validation'
# In a distributed run: to ask the main process costs a message.
ITERATIONS_BETWEEN_LOOKS = 10


@HOOKS.register_module()
class CrashSafeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, made to survive a kill at any moment.

    It takes the same arguments and writes the same files; ``interval`` may be a time,
    too. What differs:

    - Writing: a file is written beside its place and moved there when it is whole.
    - Removing: an old file goes when the new one is whole and ``last_checkpoint`` names
      it. So with ``max_keep_ckpts=1`` one checkpoint is there at every moment.
    - Recording: a file counts once the checkpoint that ``last_checkpoint`` names knows
      it. Which files change is noted on the disk before. The start after a kill removes
      those of them that don't count: new ones of an unfinished change, whose work is
      done again, or old ones of a finished change. So no file is left that a later run
      doesn't know, though by time it may write under other names.
    - Validating: the checkpoint of an epoch is written before its validation and records
      that this is due. A run that resumes from it validates first. With mmengine's hook
      that validation, and a best checkpoint from it, would be lost. The same holds for
      iterations.
    - Resuming: if ``last_checkpoint`` names a file that can't be loaded, a run that looks
      for its last checkpoint takes the newest file that can be loaded.
    - Starting anew: ``last_checkpoint`` of an earlier run in the same folder is
      removed. Otherwise that run would be resumed if this one died before its first
      checkpoint. The earlier checkpoints stay.
    - Ending: a loop that something stops early writes its last checkpoint, too.

    With a time the last checkpoint is written at the first end of an epoch (with
    ``by_epoch=False``: of an iteration) at which so much time has passed since the last
    one was written or training began. So a kill costs at most that time and an epoch. A
    new best checkpoint brings the last one with it: nothing else would know of it. In a
    distributed run the main process's clock decides, and iterations look at it in each
    10th only.

    Whatever a checkpoint says, the hook removes files in its own folder only, and only
    those with names that it could have given.

    - When: as the original, and ``before_run``, ahead of the Runner's resumption.
    - Touches: the checkpoints in ``work_dir`` (``out_dir``).
    - State: in the message hub, as the original; also whether the validation of the
      newest checkpoint is due. In ``.changing_checkpoints`` beside the checkpoints, the
      files that are changing.
    - Priority: VERY_LOW, as the original.

    Args:
        interval (int | str): A number of epochs or iterations, as in mmengine, or a time
            such as ``'60s'``, ``'5min'`` or ``'1h'``. Defaults to -1: no checkpoint
            before the end.
        *args: As in mmengine.
        **kwargs: As in mmengine.

    Raises:
        ValueError: If ``interval`` is neither, no checkpoint can be loaded on resuming,
            or the validation doesn't give the metric that ``save_best`` names.
    """

    def __init__(self, interval: int | str = -1, *args: Any, **kwargs: Any) -> None:
        self.timer = _timer(interval)
        super().__init__(-1 if self.timer else interval, *args, **kwargs)
        self.files = CheckpointFiles(self.filename_tmpl)
        self._journal: Journal | None = None
        self._writes_last = False

    def before_run(self, runner: Runner) -> None:
        # The Runner's own condition for looking for a checkpoint.
        searches = runner._resume and runner._load_from is None
        if searches and is_main_process():
            out_dir = None if self.out_dir is None else Path(self.out_dir)
            self.files.repair_pointer(Path(runner.work_dir), out_dir)
        barrier()

    def before_train(self, runner: Runner) -> None:
        hub = runner.message_hub
        super().before_train(runner)
        if '://' not in self.out_dir:
            if not self.file_client_args and not self.backend_args:
                self.backend_args = atomic_backend_args()
            self._adopt_recorded(runner)
            self._journal = Journal(Path(self.out_dir, JOURNAL))
            if is_main_process():
                self._clean_up(runner, self._journal)
        self._saved_iter = runner.iter
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            runner.logger.warning(
                'The run counts iterations, but default_hooks.checkpoint.by_epoch=True '
                'writes its checkpoint at the end: a run that is killed is lost. Set '
                'by_epoch=False and interval to a number of iterations or to a time.'
            )
        if hub.get_info(UNVALIDATED) and runner.val_loop is not None:
            runner.logger.info(
                'The checkpoint was written before its validation: validating first.'
            )
            # Where the run was when it would have validated.
            hub.update_info('epoch', max(0, runner.epoch - 1))
            hub.update_info('iter', runner.iter - 1)
            runner.val_loop.run()
        if self.timer:
            self.timer.start()

    def every_n_epochs(self, runner: Runner, n: int, start: int = 0) -> bool:
        """Whether a checkpoint is due at this end of an epoch."""
        if self.timer is None:
            return super().every_n_epochs(runner, n, start)
        return self.timer.has_passed() and runner.epoch + 1 >= start

    def every_n_train_iters(self, runner: Runner, n: int, start: int = 0) -> bool:
        """Whether a checkpoint is due at this end of an iteration."""
        if self.timer is None:
            return super().every_n_train_iters(runner, n, start)
        done = runner.iter + 1
        looks = get_world_size() == 1 or done % ITERATIONS_BETWEEN_LOOKS == 0
        return looks and self.timer.has_passed() and done >= start

    def after_train_epoch(self, runner: Runner) -> None:
        _note_validation(runner, EpochBasedTrainLoop)
        with self._changing_files():
            super().after_train_epoch(runner)

    def after_train_iter(self, runner: Runner, batch_idx, data_batch=None, outputs=None):
        if not self.by_epoch:
            _note_validation(runner, IterBasedTrainLoop)
            with self._changing_files():
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
        with self._changing_files():
            before = self.files.recorded(runner.message_hub.runtime_info)
            super().after_val_epoch(runner, metrics)
            has_new_best = before != self.files.recorded(runner.message_hub.runtime_info)
            # mmengine writes the last checkpoint with a new best one from the second on.
            if has_new_best and self.last_ckpt is None and self.timer:
                self._save_last(runner, begin=self.save_begin)

    def after_train(self, runner: Runner) -> None:
        if self.save_last and self._saved_iter != runner.iter:
            with self._changing_files():
                self._save_last(runner)
        super().after_train(runner)

    def _save_last(self, runner: Runner, begin: int = 0) -> None:
        """Write the last checkpoint between two epochs or iterations, from one on."""
        done = runner.epoch if self.by_epoch else runner.iter
        if done >= begin:
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_checkpoint_with_step(runner, done, meta)

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
        self._writes_last = True
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
        self._writes_last = False
        if is_main_process():
            point(Path(runner.work_dir, POINTER), self.last_ckpt)
        self._saved_iter = meta['iter']
        if self.timer:
            self.timer.start()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note on the disk which files change, before they do.

        A best checkpoint leaves out which last ones there are: by time that differs.
        """
        late = self.file_backend
        if not isinstance(late, LateRemoval):  # another hook's checkpoint
            return
        if self._journal is not None:
            recorded = self.files.recorded(runner.message_hub.runtime_info)
            new = {n for n in recorded if not Path(self.out_dir, n).exists()}
            self._journal.add(new | {Path(path).name for path in late.removed})
        if not self._writes_last:
            for key in ('last_ckpt', 'keep_ckpt_ids'):
                checkpoint['message_hub']['runtime_info'].pop(key, None)

    @contextmanager
    def _changing_files(self) -> Iterator[None]:
        """Put off removals to the end of the block; after an error, remove nothing.

        The record of what changes is then left to the next start.
        """
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
            if self._journal is not None:
                self._journal.close()

    def _clean_up(self, runner: Runner, journal: Journal) -> None:
        """Remove what earlier runs left behind by dying."""
        remove_partial_files(self.out_dir)
        pointer = Path(runner.work_dir, POINTER)
        if names := journal.read():
            folder = Path(self.out_dir)
            for name in self.files.not_counting(names, folder, pointer):
                (folder / name).unlink(missing_ok=True)
            journal.path.unlink()
        if runner.iter == 0:
            pointer.unlink(missing_ok=True)

    def _adopt_recorded(self, runner: Runner) -> None:
        """Take the recorded checkpoints for the files of their names in the own folder.

        Their paths are those of another folder if the run was moved, and of another
        run's files if its checkpoint was resumed here.
        """

        def adopt(key: str) -> str | None:
            name = Path(str(runner.message_hub.get_info(key))).name
            if not self.files.is_own(name):
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


def _timer(interval: object) -> TimeInterval | None:
    """The timer of an interval that is no whole number."""
    is_number = isinstance(interval, Real) and not isinstance(interval, bool)
    return None if is_number and interval % 1 == 0 else TimeInterval(interval)


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

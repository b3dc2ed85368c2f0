"""Checkpoints that outlive a kill at any moment and a full disk."""

from __future__ import annotations

import bisect
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mmdmlora.io import (
    LateRemoval,
    atomic_backend_args,
    atomic_write,
    load_checkpoint_file,
    remove_partial_files,
)
from mmdmlora.registry import HOOKS

POINTER = 'last_checkpoint'

# Entries of the message hub; it logs those whose names begin with 'val'.
SUPERSEDED = 'superseded_ckpts'
UNVALIDATED = 'pending_validation'


@HOOKS.register_module()
class CrashSafeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, made to survive a kill at any moment.

    It takes the same arguments and writes the same files. What differs:

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
    - Cleaning up: the next start removes what a kill left behind.

    Whatever a checkpoint says, the hook removes files in its own folder only, and only
    those with names that it could have given.

    - When: as the original, and ``before_run``, ahead of the Runner's resumption.
    - Touches: the checkpoints in ``work_dir`` (``out_dir``).
    - State: in the message hub, as the original; also the files that the newest
      checkpoint replaces, and whether its validation is due.
    - Priority: VERY_LOW, as the original.

    Raises:
        ValueError: If no checkpoint can be loaded on resuming, or the validation doesn't
            give the metric that ``save_best`` names.
    """

    def before_run(self, runner: Runner) -> None:
        # The Runner's own condition for looking for a checkpoint.
        searches = runner._resume and runner._load_from is None
        if searches and is_main_process():
            self._repair_pointer(Path(runner.work_dir))
        barrier()

    def before_train(self, runner: Runner) -> None:
        hub = runner.message_hub
        super().before_train(runner)
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
            _point(Path(runner.work_dir, POINTER), self.last_ckpt)

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

    def _is_own(self, name: object) -> bool:
        """Whether the hook could have written a file of this name."""
        before, after = map(re.escape, self.filename_tmpl.split('{}'))
        return bool(re.fullmatch(rf'(best_[^/]*_)?{before}\d+{after}', str(name)))

    def _clean_up(self, runner: Runner) -> None:
        """Remove what earlier runs left behind by dying."""
        remove_partial_files(self.out_dir)
        for name in runner.message_hub.get_info(SUPERSEDED, []):
            if self._is_own(name):
                Path(self.out_dir, name).unlink(missing_ok=True)
        if runner.iter == 0:
            Path(runner.work_dir, POINTER).unlink(missing_ok=True)

    def _adopt_recorded(self, runner: Runner) -> None:
        """Take the recorded checkpoints for the files of their names in the own folder.

        Their paths are those of another folder if the run was moved, and of another
        run's files if its checkpoint was resumed here.
        """

        def adopt(key: str) -> str | None:
            name = Path(str(runner.message_hub.get_info(key))).name
            if not self._is_own(name):
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

    def _repair_pointer(self, work_dir: Path) -> None:
        """Let ``last_checkpoint`` name the newest checkpoint that can be loaded.

        Raises:
            ValueError: If the file is there, but no checkpoint that can be loaded.
        """
        pointer = work_dir / POINTER
        if not pointer.is_file():
            return
        named = pointer.read_text().strip()
        if '://' in named:
            return
        folders = [work_dir, Path(named).parent]
        if self.out_dir is not None:
            folders.append(Path(self.out_dir, work_dir.resolve().name))
        others = {
            file
            for folder in folders
            for file in folder.glob(self.filename_tmpl.format('*'))
            if self._is_own(file.name)
        }
        newest = sorted(others, key=lambda file: file.stat().st_mtime, reverse=True)
        problems = []
        for file in [named, str(work_dir / Path(named).name), *map(str, newest)]:
            try:
                load_checkpoint_file(file)
            except (ValueError, OSError) as error:
                problems.append(str(error))
                continue
            if file != named:
                print_log(
                    f'{pointer} names {named!r}, which can not be loaded: resuming from '
                    f'{file!r}, the newest checkpoint that can be.',
                    logger='current',
                    level=logging.WARNING,
                )
                _point(pointer, file)
            return
        raise ValueError(
            f'there is no checkpoint in {str(work_dir)!r} to resume from: '
            f'{" ".join(dict.fromkeys(problems))} Start without --resume, or with '
            'another --work-dir.'
        )


def _point(pointer: Path, checkpoint: str) -> None:
    with atomic_write(pointer) as stream:
        stream.write(checkpoint.encode())


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

"""Random numbers as a function of (seed, epoch or iteration, rank): exact resumption."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop, Runner

from mmdmlora.engine.iter_loop import ResumableIterBasedTrainLoop
from mmdmlora.engine.seeding import seed_everything
from mmdmlora.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Reseed as training goes on, so that a resumed run equals an unbroken one.

    mmengine doesn't store the states of the random number generators. With this hook
    the random numbers of an epoch (in a loop by iterations: of an iteration) depend on
    the seed, the epoch or iteration, and the rank only. Weights were seen to end
    bit-equal by epochs without data loading workers, and with non-persistent workers that
    :func:`~mmdmlora.engine.epoch_worker_init_fn` seeds, and by iterations with
    :class:`~mmdmlora.engine.ResumableIterBasedTrainLoop` and any number of workers.

    - When: ``before_train`` (warnings), ``before_train_epoch`` (0-based
      ``runner.epoch``) and, in a loop by iterations, ``before_train_iter`` (0-based
      ``runner.iter``).
    - Touches: the global generators of Python, NumPy and torch on every device. Samplers
      have generators of their own.
    - State: none.
    - Priority: VERY_HIGH, so that random numbers that other hooks draw at the same point
      come from the new seeds.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Warn about what makes a resumed run differ nevertheless."""
        for problem in _problems(runner):
            print_log(
                f'A resumed run will not equal an unbroken one: {problem}.',
                logger='current',
                level=logging.WARNING,
            )

    def before_train_epoch(self, runner: Runner) -> None:
        seed_everything(runner.seed, runner.epoch, runner.rank)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            seed_everything(runner.seed, runner.iter, runner.rank)


def _problems(runner: Runner) -> Iterator[str]:
    by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
    if by_iteration:
        if not isinstance(runner.train_loop, ResumableIterBasedTrainLoop):
            yield (
                f"{type(runner.train_loop).__name__} draws the images' random numbers "
                'from a stream that it does not restore: set train_cfg.type='
                "'mmdmlora.ResumableIterBasedTrainLoop'"
            )
    elif getattr(runner.train_dataloader, 'persistent_workers', False):
        yield (
            'train_dataloader.persistent_workers=True keeps the state of the '
            'workers: set it to False'
        )
    if (runner.cfg.get('randomness') or {}).get('seed') is None:
        yield "the config has no seed for the sampler: set randomness['seed']"
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            yield from _checkpoint_problems(runner, hook, by_iteration)


def _checkpoint_problems(
    runner: Runner, hook: CheckpointHook, by_iteration: bool
) -> Iterator[str]:
    if not (by_iteration or hook.by_epoch):
        yield (
            'default_hooks.checkpoint.by_epoch=False writes checkpoints inside of '
            'epochs, and a resumed run begins an epoch: set by_epoch=True'
        )
    counts = (runner.cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    if get_world_size() == 1 or counts == 1:
        return
    by_time = getattr(hook, 'timer', None) is not None
    steps = 1 if by_time else hook.interval
    if by_time and not hook.by_epoch:
        yield (
            'default_hooks.checkpoint.interval is a time, so a checkpoint may interrupt '
            f'optim_wrapper.accumulative_counts={counts}, and it holds the gradients of '
            f'one process only: set interval to a multiple of {counts} iterations'
        )
        return
    if hook.by_epoch:
        steps *= len(runner.train_dataloader)
    if steps > 0 and steps % counts:
        yield (
            f'optim_wrapper.accumulative_counts={counts} does not divide the {steps} '
            'steps between checkpoints, which hold the gradients of one process only: '
            f'set a divisor of {steps}'
        )

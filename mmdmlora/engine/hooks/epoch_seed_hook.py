"""Random numbers as a function of (seed, epoch, rank), so that a resume is exact."""

from __future__ import annotations

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmdmlora.engine.seeding import seed_everything
from mmdmlora.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Reseed at the start of each epoch, so that a resumed run equals an unbroken one.

    mmengine doesn't store the states of the random number generators. With this hook
    the random numbers of an epoch depend on the seed, the epoch and the rank only.
    Weights were seen to end bit-equal without data loading workers, and with
    non-persistent workers that :func:`~mmdmlora.engine.epoch_worker_init_fn` seeds.

    - When: ``before_train`` (warnings) and ``before_train_epoch`` (0-based
      ``runner.epoch``). A loop by iterations has one epoch only: there a resumed run
      repeats the random numbers of the start.
    - Touches: the global generators of Python, NumPy and torch on every device. Samplers
      have generators of their own.
    - State: none.
    - Priority: VERY_HIGH, so that random numbers that other hooks draw in
      ``before_train_epoch`` come from the new seeds.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Warn about what makes a resumed run differ nevertheless."""
        problems = []
        if getattr(runner.train_dataloader, 'persistent_workers', False):
            problems.append(
                'train_dataloader.persistent_workers=True keeps the state of the '
                'workers: set it to False'
            )
        if (runner.cfg.get('randomness') or {}).get('seed') is None:
            problems.append(
                "the config has no seed for the sampler: set randomness['seed']"
            )
        for problem in problems:
            print_log(
                f'A resumed run will not equal an unbroken one: {problem}.',
                logger='current',
                level=logging.WARNING,
            )

    def before_train_epoch(self, runner: Runner) -> None:
        seed_everything(runner.seed, runner.epoch, runner.rank)

"""Random numbers as a function of (seed, epoch, rank), so that a resume is exact."""

import logging
import random

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch.utils.data import get_worker_info

from mmdmlora.registry import FUNCTIONS, HOOKS


def seed_everything(*entropy: int) -> None:
    """Seed Python, NumPy and torch (all devices) from a mix of non-negative integers.

    Each library gets its own number, and neighbouring inputs give unrelated streams.
    """
    mixed = np.random.SeedSequence(entropy).generate_state(3, np.uint64)
    for_python, for_numpy, for_torch = (int(number) for number in mixed)
    random.seed(for_python)
    np.random.seed(for_numpy % 2**32)
    torch.manual_seed(for_torch)


@FUNCTIONS.register_module()
def epoch_worker_init_fn(worker_id: int) -> None:
    """Seed a data loader's worker from the seed that torch draws for it each epoch.

    mmengine's default seeds the workers of every epoch alike, so that each epoch
    repeats the augmentations of the first. Use in a config::

        train_dataloader = dict(
            worker_init_fn=dict(type='mmdmlora.epoch_worker_init_fn'), ...)

    The prefix is needed in every scope: the Runner asks mmengine's own registry. With
    :class:`EpochSeedHook` the seeds are the same in a resumed run, and differ between
    ranks.

    Args:
        worker_id (int): Index of the worker; it is part of torch's seed already.
    """
    seed_everything(get_worker_info().seed)


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Reseed at the start of each epoch, so that a resumed run equals an unbroken one.

    mmengine doesn't store the states of the random number generators. With this hook an
    epoch's random numbers depend on the seed, the epoch and the rank only, not on
    whether the epochs before ran in the same process. Bit-equal weights were seen
    without workers and with non-persistent workers that :func:`epoch_worker_init_fn`
    seeds.

    When: ``before_train_epoch`` (0-based ``runner.epoch``); warnings in
    ``before_train``. An iteration-based loop has one epoch only: there the hook makes
    a resumed run repeat the random numbers of the start.

    Touches: the global generators of Python, NumPy and torch on every device. Samplers
    have their own.

    State: none.

    Priority: ``VERY_HIGH``, so that what other hooks draw in ``before_train_epoch``
    comes from the new streams.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
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

    def before_train_epoch(self, runner) -> None:
        seed_everything(runner.seed, runner.epoch, runner.rank)

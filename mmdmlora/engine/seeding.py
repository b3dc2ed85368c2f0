"""Seeding the random number generators of a process and of its data loading workers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import get_worker_info

from mmdmlora.registry import FUNCTIONS


def seed_everything(*entropy: int) -> None:
    """Seed Python, NumPy and torch (all devices) from a mix of non-negative integers.

    Each library gets its own number, and neighbouring inputs give unrelated streams.
    """
    mixed = np.random.SeedSequence(entropy).generate_state(3, np.uint64)
    for_python, for_numpy, for_torch = (int(number) for number in mixed)
    random.seed(for_python)
    np.random.seed(for_numpy % 2**32)
    torch.manual_seed(for_torch)


@contextmanager
def restored_determinism() -> Iterator[None]:
    """Let settings of determinism end with a run: mmengine's Runner only sets them."""
    cudnn = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = flags
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Give Python, NumPy and torch their random states back when the block ends."""
    states = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


@FUNCTIONS.register_module()
def epoch_worker_init_fn(worker_id: int) -> None:
    """Seed a data loader's worker from the seed that torch draws for it each epoch.

    mmengine's default seeds the workers of every epoch alike, so that each epoch
    repeats the augmentations of the first. Use in a config::

        train_dataloader = dict(
            worker_init_fn=dict(type='mmdmlora.epoch_worker_init_fn'), ...)

    The prefix is needed in every scope: the Runner asks mmengine's own registry. With
    :class:`~mmdmlora.engine.EpochSeedHook` the seeds are the same in a resumed run, and
    differ between ranks.

    Args:
        worker_id (int): Index of the worker; it is part of torch's seed already.
    """
    seed_everything(get_worker_info().seed)

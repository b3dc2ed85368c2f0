"""Short trainings with the schedule of long ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import BatchSampler

from mmdmlora.registry import DATA_SAMPLERS

from .runs import Run
from .spaces import Settings


@DATA_SAMPLERS.register_module()
class PartialEpochBatchSampler(BatchSampler):
    """The first batches of each epoch.

    With a sampler that shuffles, each epoch has other images.

    Args:
        sampler: Gives the images of an epoch.
        batch_size (int): The images of a batch.
        share (float): The share of an epoch's batches, rounded, at least one batch.
        drop_last (bool): Whether images that fill no batch are left out.
    """

    def __init__(
        self, sampler: Any, batch_size: int, share: float, drop_last: bool = False
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.share = share

    def __iter__(self) -> Iterator[list[int]]:
        return islice(super().__iter__(), len(self))

    def __len__(self) -> int:
        whole = super().__len__()
        return min(whole, max(1, round(self.share * whole)))


def partial_epochs(run: Run, share: float) -> Settings:
    """Settings that shorten each epoch of a run, so that its schedule stays whole.

    Warm-up, decay of the learning rate, pruning and stages, which count epochs, are
    passed through as in the whole training.

    Args:
        run: The run.
        share: The share of each epoch's batches.

    Raises:
        ValueError: If the training data have a batch sampler of their own.
    """
    loader = run.resolved()['train_dataloader']
    if loader.get('batch_sampler'):
        raise ValueError(
            f'{run.config} has a train_dataloader.batch_sampler, so its epochs can not '
            'be shortened for the first rung of a search: use --no-halving.'
        )
    shortened = dict(
        type='mmdmlora.PartialEpochBatchSampler',
        share=share,
        drop_last=loader.get('drop_last', False),
    )
    # PyTorch takes drop_last from a batch sampler where there is one.
    return {
        'train_dataloader.batch_sampler': shortened,
        'train_dataloader.drop_last': False,
    }

"""Short epochs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import BatchSampler

from mmdmlora.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class PartialEpochBatchSampler(BatchSampler):
    """The first batches of each epoch: other images in each if the sampler shuffles.

    What counts epochs (warm-up, decay of the learning rate, pruning, stages) is passed
    through in fewer steps.

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

"""Data loaders over data sets that keep their images in memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from mmengine.dataset import (
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
    default_collate,
)
from mmpretrain.datasets import KFoldDataset
from torch.utils.data import DataLoader, Subset

# These hand on a sample as it is.
PLAIN_WRAPPERS = (
    ClassBalancedDataset,
    ConcatDataset,
    KFoldDataset,
    RepeatDataset,
    Subset,
)
# The share of a GPU's free memory that the images may take.
SHARE = 1 / 4


def speed_up(loader: DataLoader, device: torch.device) -> str:
    """Let a data loader make the most of images in memory, in place.

    Where all samples are in memory as the pipeline's end gives them, workers would only
    copy them: none are started. Where a batch is no more than ``default_collate`` of the
    samples of one data set, it is drawn by index, on the GPU if the images fit there.
    The batches and the random numbers of the process stay the same bit for bit.
    Where random steps are left, nothing is changed: their random numbers depend on the
    number of workers.

    Args:
        loader: The data loader. Its data sets have been filled.
        device: Where the model is.

    Returns:
        What was done, for the log; '' for nothing.
    """
    dataset: Any = loader.dataset
    if not _is_in_memory(dataset):
        return ''
    if loader.num_workers:
        loader.num_workers = 0
        loader.prefetch_factor = None
        loader.multiprocessing_context = None
        loader.timeout = 0
    place = device_of_images(device, loader)
    if not (_is_stock(loader) and dataset.index_batches(place)):
        return 'No workers are used.'
    loader.collate_fn = LetWholeThrough(loader.collate_fn)
    return f'Batches are drawn by index on {place or "the host"}, without workers.'


def device_of_images(device: torch.device, loader: DataLoader) -> torch.device | None:
    """The GPU, if the images should lie there; None if they stay with the host."""
    if device.type != 'cuda' or loader.pin_memory:
        return None
    free, _ = torch.cuda.mem_get_info(device)
    size = getattr(loader.dataset, 'cache_bytes', 0)
    return device if size <= SHARE * free else None


class LetWholeThrough:
    """A ``collate_fn`` that leaves finished batches alone.

    Args:
        collate: What makes a batch of a list of samples.
    """

    def __init__(self, collate: Any) -> None:
        self.collate = collate

    def __call__(self, data: Any) -> Any:
        return data if isinstance(data, dict) else self.collate(data)


def _is_in_memory(dataset: Any) -> bool:
    if type(dataset) in PLAIN_WRAPPERS:
        inner = getattr(dataset, 'datasets', None) or [dataset.dataset]
        return all(map(_is_in_memory, inner))
    return bool(getattr(dataset, 'is_whole_cached', False))


def _is_stock(loader: DataLoader) -> bool:
    """Whether a batch is mmengine's ``default_collate`` of one data set's samples."""
    collate = loader.collate_fn
    if isinstance(collate, partial) and not (collate.args or collate.keywords):
        collate = collate.func
    is_batched = loader.batch_sampler is not None
    return (
        is_batched
        and collate is default_collate
        and hasattr(loader.dataset, 'index_batches')
    )

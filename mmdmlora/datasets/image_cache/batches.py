"""Batches that are one index into all images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from .image_store import ImageStore


def copy_to(device: torch.device, images: np.ndarray) -> Tensor:
    """Copy images that may be read-only to a device."""
    with warnings.catch_warnings():  # of memory that can't be written: it is only read
        warnings.simplefilter('ignore', UserWarning)
        return torch.from_numpy(images).to(device, copy=True)


def index_batch(
    store: ImageStore, images: np.ndarray | Tensor, indices: Sequence[int]
) -> dict:
    """What mmengine's ``default_collate`` makes of packed samples.

    Args:
        store: All samples.
        images: Their images, of shape (N, C, H, W), in the memory of the host or, as a
            tensor, of a device.
        indices: The indices of the batch, B in number.

    Returns:
        dict: ``inputs``, a new tensor of shape (B, C, H, W), and ``data_samples``, a list
        of new objects.
    """
    if isinstance(images, Tensor):
        at = torch.tensor(indices)
        if images.is_cuda:  # pinned: otherwise the host would wait for the device
            at = at.pin_memory()
        inputs = images.index_select(0, at.to(images.device, non_blocking=True))
    else:
        inputs = torch.from_numpy(images.take(indices, axis=0))
    records = map(store.without_pixels, indices)
    return dict(inputs=inputs, data_samples=[x['data_samples'] for x in records])


def is_same(one: Any, two: Any) -> bool:
    """Whether two batches are equal bit for bit, wherever their tensors lie."""
    if type(one) is not type(two):
        return False
    if isinstance(one, Tensor):
        return one.dtype == two.dtype and torch.equal(one.cpu(), two.cpu())
    if isinstance(one, DataSample):
        return is_same(vars(one), vars(two))
    if isinstance(one, dict):
        return list(one) == list(two) and all(is_same(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(is_same, one, two))
    return bool(np.array_equal(one, two))

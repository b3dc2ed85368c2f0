"""Data sets whose images can be kept in memory."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import BaseDataset as MMEngineDataset
from mmengine.dataset import default_collate
from mmpretrain.datasets import BaseDataset
from torch import Tensor

from .batches import copy_to, index_batch, is_same
from .filling import fill
from .image_store import ImageStore
from .pipeline_start import PipelineStart
from .records import NotCacheable
from .settings import BUDGET_GIB, check_cache
from .sharing import fill_once

MIB = 2**20
# The size of the batch that is compared with the usual one.
PROVED = 64


class CacheReport(NamedTuple):
    """What :meth:`CachedDataset.fill_cache` has done; ``str`` says it in a line."""

    num_images: int
    num_bytes: int = 0
    seconds: float = 0.0
    is_shared: bool = False
    """Whether another process of the machine has filled the memory."""
    reason: str = ''
    """Why the images are not in memory, if they aren't."""

    def __str__(self) -> str:
        if self.reason:
            return (
                f'{self.num_images:,} images are read from their files in every epoch: '
                f'{self.reason}.'
            )
        return (
            f'{self.num_images:,} images in memory, {self.num_bytes / MIB:,.1f} MiB, '
            f'{self.seconds:.1f} s{", shared" * self.is_shared}.'
        )


class Filled(NamedTuple):
    """The images in memory and what they were made from."""

    store: ImageStore
    start: PipelineStart
    data_bytes: np.ndarray


class CachedDataset(BaseDataset):
    """A data set that can keep its images in memory, as its pipeline's start gives them.

    With ``cache='memory'``, :meth:`fill_cache` loads and resizes each image once. What
    comes behind the deterministic start of the pipeline (such as random crops) runs on a
    fresh copy at each access, and draws the random numbers that it would draw otherwise.
    Samples equal those without a cache bit for bit.

    Args:
        *args: Arguments of :class:`mmpretrain.datasets.BaseDataset`.
        cache (str, optional): 'memory', or None to read the files. Defaults to None.
        cache_gib (float): The most memory that the images may take, in GiB. If they need
            more, the files are read. Defaults to 2.
        **kwargs: Arguments of :class:`mmpretrain.datasets.BaseDataset`.

    Raises:
        ValueError: If ``cache`` or ``cache_gib`` is unknown or no positive number.

    Note:
        Nothing is kept on disk. The memory is filled from what the files hold at that
        time: files that are changed during a run aren't seen. It isn't used any more
        once the pipeline or the list of images is replaced.
    """

    _filled: Filled | None = None
    _resident: np.ndarray | Tensor | None = None

    def __init__(
        self,
        *args: Any,
        cache: str | None = None,
        cache_gib: float = BUDGET_GIB,
        **kwargs: Any,
    ) -> None:
        check_cache(cache, cache_gib)
        self.cache = cache
        self.cache_gib = cache_gib
        super().__init__(*args, **kwargs)

    def fill_cache(self) -> CacheReport:
        """Load all images into memory, once; each process of a distributed run calls it.

        The first process of a machine fills the memory, the others open it. Workers of a
        data loader use it, too. A training through the Runner calls this by
        ``ImageCacheHook``.

        Returns:
            CacheReport: How many images take how much memory, or why they can't.

        Raises:
            ValueError: If an image is damaged, as without a cache when its turn comes.
        """
        self.full_init()
        if filled := self._current():
            return CacheReport(len(self), filled.store.size)
        begin = time.perf_counter()
        start = PipelineStart(self.pipeline)
        self._filled = self._resident = None
        try:
            store, is_shared = fill_once(lambda: self._fill(start), self._fingerprint())
        except NotCacheable as error:
            return CacheReport(len(self), reason=str(error))
        self._filled = Filled(store, start, self.data_bytes)
        seconds = time.perf_counter() - begin
        return CacheReport(len(self), store.size, seconds, is_shared)

    @property
    def cache_bytes(self) -> int:
        """The memory that the images take now; 0 if their files are read."""
        filled = self._current()
        return filled.store.size if filled else 0

    @property
    def is_whole_cached(self) -> bool:
        """Whether the memory holds finished samples: no step or other code is left."""
        filled = self._current()
        return (
            filled is not None
            and filled.start.is_whole
            and type(self).__getitem__ is MMEngineDataset.__getitem__
            and type(self).prepare_data is CachedDataset.prepare_data
        )

    def prepare_data(self, idx: int) -> Any:
        """The pipeline's result for an image, from memory if it is there."""
        filled = self._current()
        if filled is None or not -len(self) <= idx < len(self):
            return super().prepare_data(idx)
        return filled.start.finish(filled.store[idx % len(self)])

    def index_batches(self, device: torch.device | None = None) -> bool:
        """Give the data loader whole batches, by one index into all images.

        Its ``collate_fn`` has to let them through. A batch is
        ``dict(inputs=<uint8 tensor (B, C, H, W)>, data_samples=<list of DataSample>)``.

        Args:
            device: Where a copy of the images shall lie and be indexed. By default they
                stay where they are, in the memory of the host.

        Returns:
            bool: Whether it is done: the whole pipeline is in memory, the images have one
            shape, and the first batch equals that of mmengine's ``default_collate``.
        """
        filled = self._current()
        if filled is None or not self.is_whole_cached or filled.store.images is None:
            return False
        images = filled.store.images
        resident = images if device is None else copy_to(device, images)
        first = range(min(len(self), PROVED))
        batch = index_batch(filled.store, resident, first)
        if not is_same(batch, default_collate([self[i] for i in first])):
            return False
        self._resident = resident
        return True

    @property
    def batch_by_index(self) -> Callable[[Sequence[int]], dict] | None:
        """Makes the batch of some indices; None unless :meth:`index_batches`."""
        filled = self._current()
        if self._resident is None or filled is None:
            return None
        return partial(index_batch, filled.store, self._resident)

    @property
    def __getitems__(self) -> Callable[[Sequence[int]], dict] | None:
        """PyTorch's name for it; where it is None, PyTorch takes single samples."""
        return self.batch_by_index

    def _current(self) -> Filled | None:
        """The memory, if it holds what the list and the pipeline of now would give."""
        filled = self._filled
        is_current = (
            filled is not None
            and filled.store is not None  # None in a process that can't open it
            and self.data_bytes is filled.data_bytes
            and filled.start.is_of(self.pipeline)
        )
        return filled if is_current else None

    def _fill(self, start: PipelineStart) -> ImageStore:
        name = type(self).__name__
        if self.cache is None:
            raise NotCacheable(f"{name} has cache=None; set cache='memory'")
        if not self.serialize_data:
            raise NotCacheable('with serialize_data=False their list may change')
        if type(self).get_data_info is not MMEngineDataset.get_data_info:
            raise NotCacheable(f'{name} has a get_data_info of its own')
        if not start.steps:
            raise NotCacheable('their pipeline begins with a step that may be random')
        return fill(len(self), lambda i: start.run(self.get_data_info(i)), self.cache_gib)

    def _fingerprint(self) -> tuple[str, str]:
        """The same in two processes whose images are the same."""
        content = getattr(self, 'data_bytes', b'')
        return hashlib.sha256(content).hexdigest(), repr(self.pipeline)

    def __getstate__(self) -> dict:
        return {k: v for k, v in vars(self).items() if k != '_resident'}

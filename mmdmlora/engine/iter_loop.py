"""Training by iterations that goes on exactly where it was."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from mmdmlora.registry import LOOPS

from .seeding import seed_everything

# A batch: for each image its index, the batch's number and its place there.
Places = list[tuple[int, int, int]]
LOADER_OPTIONS = (
    'num_workers',
    'collate_fn',
    'pin_memory',
    'timeout',
    'worker_init_fn',
    'multiprocessing_context',
    'prefetch_factor',
    'persistent_workers',
)


@LOOPS.register_module()
class ResumableIterBasedTrainLoop(IterBasedTrainLoop):
    """mmengine's ``IterBasedTrainLoop``, whose data is a function of the iteration.

    mmengine's loop draws the random numbers of the images from streams that depend on
    all that was computed before, and on resuming loads and drops all images that it has
    seen. Here the images of an iteration are those of the unbroken run, and the random
    numbers of an image (flips, crops, ...) depend on the seed, the iteration, the rank
    and its place in the batch only. So they don't depend on kills or on the number of
    data loading workers, and what was seen is skipped without loading it. With
    :class:`~mmdmlora.engine.EpochSeedHook`, which does the same for the model's random
    numbers, a resumed run equals an unbroken one bit for bit.

    Any sampler works whose order follows from its seed and ``set_epoch``. The workers
    are started once, also with samplers that end. In a config::

        train_cfg = dict(
            type='mmdmlora.ResumableIterBasedTrainLoop', max_iters=20000,
            val_interval=2000)

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The data loader, or its config.
        *args: As in mmengine.
        **kwargs: As in mmengine.

    Raises:
        ValueError: If the data set has no indices (an ``IterableDataset``), or the
            sampler gives no batch.
    """

    def __init__(
        self, runner: Runner, dataloader: DataLoader | dict, *args: Any, **kwargs: Any
    ) -> None:
        if isinstance(dataloader, dict):
            different = (runner.cfg.get('randomness') or {}).get('diff_rank_seed', False)
            dataloader = runner.build_dataloader(
                dataloader, seed=runner.seed, diff_rank_seed=different
            )
        if isinstance(dataloader.dataset, IterableDataset):
            raise ValueError(
                f'{type(dataloader.dataset).__name__} has no indices, so a resumed run '
                "can't find its place: use train_cfg.type='IterBasedTrainLoop', which "
                'does not resume exactly.'
            )
        self._batches = _Batches(dataloader, runner.seed, runner.rank)
        super().__init__(runner, self._batches, *args, **kwargs)
        self.dataloader = dataloader

    def run(self) -> nn.Module:
        # mmengine's loop takes and drops as many batches as were trained with.
        skipped = itertools.repeat(None, self._iter)
        self.dataloader_iterator = itertools.chain(
            skipped, self._batches.after(self._iter)
        )
        return super().run()


class _Batches:
    """The batches of a data loader without end, each a function of its number.

    Nothing is loaded before the first batch is taken.
    """

    def __init__(self, loader: DataLoader, seed: int, rank: int) -> None:
        self.loader = loader
        self.dataset = loader.dataset
        self._seeded = _SeededDataset(loader.dataset, seed, rank)

    def __iter__(self) -> Iterator[Any]:
        return self.after(0)

    def after(self, count: int) -> Iterator[Any]:
        """The batches that follow the first ``count`` ones."""
        options = {name: getattr(self.loader, name) for name in LOADER_OPTIONS}
        places = itertools.islice(self._places(), count, None)
        if not options['num_workers']:  # it may have been set to 0 since
            options['persistent_workers'] = False
        yield from DataLoader(self._seeded, batch_sampler=places, **options)

    def _places(self) -> Iterator[Places]:
        batch_sampler = self.loader.batch_sampler
        samplers = (self.loader.sampler, getattr(batch_sampler, 'sampler', None))
        number = 0
        for epoch in itertools.count():
            for sampler in samplers:
                if hasattr(sampler, 'set_epoch'):
                    sampler.set_epoch(epoch)
            first = number
            for indices in batch_sampler:
                yield [(index, number, place) for place, index in enumerate(indices)]
                number += 1
            if number == first:
                raise ValueError(
                    'the sampler of train_dataloader gives no batch: lower batch_size, '
                    'or set drop_last=False.'
                )


class _SeededDataset(Dataset):
    """A data set that draws the random numbers of each image from its place alone."""

    def __init__(self, dataset: Dataset, seed: int, rank: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.rank = rank

    def __getitem__(self, at: tuple[int, int, int]) -> Any:
        index, batch, place = at
        # From 1: seeds that differ by zeros at their end are the same.
        seed_everything(self.seed, batch, self.rank, place + 1)
        return self.dataset[index]

    @property
    def __getitems__(self) -> Callable[[Places], Any] | None:
        """PyTorch's protocol for whole batches, of a data set that draws no numbers."""
        batch = getattr(self.dataset, 'batch_by_index', None)
        return batch and partial(self._take, batch)

    def _take(self, batch_by_index: Callable[[list[int]], Any], places: Places) -> Any:
        """A batch; the generators are left as its last image would leave them."""
        _, batch, place = places[-1]
        seed_everything(self.seed, batch, self.rank, place + 1)
        return batch_by_index([index for index, _, _ in places])

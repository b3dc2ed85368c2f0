"""Loading the images into memory before training."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdmlora.data_settings import innermost_datasets
from mmdmlora.engine.cached_loader import speed_up
from mmdmlora.registry import HOOKS


@HOOKS.register_module()
class ImageCacheHook(Hook):
    """Fill the memory of the data sets with ``cache='memory'``, and use it.

    A line of the log says for each how many images take how much memory, or why their
    files are read as before. In a distributed run the first process of a machine loads
    the images, and the others use its memory.

    - When: ``before_train``, for the data of training and validation. A test set is
      read once: its files are.
    - Touches: the data sets, and of data loaders whose samples are in memory as the
      pipeline's end gives them, the number of workers (0) and ``collate_fn``, see
      :func:`~mmdmlora.engine.cached_loader.speed_up`. Batches stay the same bit for bit.
    - State: none. A resumed run loads the images again.
    - Priority: LOW, so that what other hooks refuse is refused before images are loaded.

    Raises:
        ValueError: If an image is damaged, as without a cache when its turn comes.
    """

    priority = 'LOW'

    def before_train(self, runner: Runner) -> None:
        loaders = dict(train_dataloader=runner.train_dataloader)
        if runner.val_loop is not None:
            loaders['val_dataloader'] = runner.val_dataloader
        parameter = next(runner.model.parameters(), torch.empty(0))
        for name, loader in loaders.items():
            if not isinstance(loader, DataLoader):
                continue
            reports = [
                f'{name}.dataset{place}: {dataset.fill_cache()}'
                for place, dataset in innermost_datasets(loader.dataset).items()
                if getattr(dataset, 'cache', None) and hasattr(dataset, 'fill_cache')
            ]
            if reports:
                line = ' '.join([*reports, speed_up(loader, parameter.device)]).rstrip()
                print_log(line, logger='current')

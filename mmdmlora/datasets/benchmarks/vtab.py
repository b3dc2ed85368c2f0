"""VTAB-1k: 19 tasks of 1,000 training images each."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...registry import DATASETS
from ..tasks import vtab_task
from .image_list import check_entries, read_list
from .task_dataset import TaskDataset


@DATASETS.register_module()
class VTAB1k(TaskDataset):
    """A task of `VTAB-1k <https://arxiv.org/abs/1910.04867>`_.

    Read in the layout in which the code of NOAH, RepAdapter and other PEFT methods
    distributes it::

        vtab-1k                              <- data_root
        ├── cifar
        │   ├── train800.txt
        │   ├── val200.txt
        │   ├── train800val200.txt
        │   ├── test.txt
        │   └── images
        │       ├── train800
        │       │   ├── 000000.jpg
        │       │   └── ...
        │       ├── val200
        │       ├── train800val200
        │       └── test
        ├── caltech101
        └── ...

    A line of a list is an image's path from the task's folder and its 0-based label::

        images/train800/000000.jpg 19

    Image numbers restart at 0 in each split, and ``train800val200`` has its own copies.

    Every task has 800 images in ``train800``, 200 in ``val200`` and those 1,000 in
    ``train800val200``. Classes and test images:

    - Natural: cifar 100, 10000; caltech101 102, 6084; dtd 47, 1880; oxford_flowers102
      102, 6149; oxford_iiit_pet 37, 3669; svhn 10, 26032; sun397 397, 21750.
    - Specialized: patch_camelyon 2, 32768; eurosat 10, 5400; resisc45 45, 6300;
      diabetic_retinopathy 5, 42670.
    - Structured: clevr_count 8, 15000; clevr_dist 6, 15000; dmlab 6, 22735; kitti 4,
      711; dsprites_loc 16, 73728; dsprites_ori 16, 73728; smallnorb_azi 18, 12150;
      smallnorb_ele 9, 12150.

    Args:
        data_root (str): The local folder that holds the tasks' folders. These may have
            the aliases of :data:`VTAB_TASKS`, such as ``cifar100``; where several are
            there, the canonical one is read.
        task (str): The task, by any of its names in :data:`VTAB_TASKS`.
        split (str): 'train800', 'val200', 'train800val200' or 'test'.
        pipeline (Sequence): The processing pipeline. Defaults to ().
        subset (float): The share of a training split to use, see
            :func:`~mmdmlora.datasets.take_subset`. Defaults to 1.0.
        subset_seed (int): The seed of the subset. Defaults to 0.
        skip_corrupt (bool): Whether images that can't be decoded are left out, with a
            warning. Defaults to False.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`, and
            ``cache`` and ``cache_gib`` of
            :class:`~mmdmlora.datasets.image_cache.CachedDataset`. The
            archive has no class names: they are '0', '1', ... unless ``classes`` gives
            others.

    Raises:
        ValueError: If the task, split or subset is unknown, the task's folder is not in
            ``data_root``, or its list is broken. A list whose length differs from the
            table is read with a warning.

    Note:
        The images of ``cifar`` are JPEG copies of 32 x 32 images. Users report about
        70 % with them where the original arrays of TensorFlow Datasets give about
        80 %: compare only results from the same source.

    License:
        There is no common licence: each task keeps that of its source data set.
    """

    remedy = (
        'Fetch the VTAB-1k archive that the code of NOAH or RepAdapter distributes and '
        "unpack it so that the task's folder holds images/<split>/000000.jpg, ... and "
        '<split>.txt.'
    )

    def __init__(
        self,
        data_root: str,
        task: str,
        split: str,
        pipeline: Sequence = (),
        **kwargs,
    ):
        super().__init__(vtab_task(task), data_root, split, pipeline, **kwargs)

    def read_split(self) -> list[dict]:
        """Read the split's list."""
        folder = self.folders[0]
        entries = read_list(os.path.join(folder, f'{self.split}.txt'))
        return check_entries(entries, folder, self.task.num_classes)

"""VTAB-1k: 19 tasks of 1,000 training images each."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from mmengine.logging import print_log
from mmpretrain.datasets import BaseDataset

from ..registry import DATASETS
from .image_list import read_image_list
from .subset import check_subset, take_subset
from .tasks import Task, vtab_task


@DATASETS.register_module()
class VTAB1k(BaseDataset):
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
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`. The
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

    def __init__(
        self,
        data_root: str,
        task: str,
        split: str,
        pipeline: Sequence = (),
        subset: float = 1.0,
        subset_seed: int = 0,
        **kwargs,
    ):
        self.task = vtab_task(task)
        if split not in self.task.splits:
            raise ValueError(
                f'VTAB-1k has no split {split!r}. Known splits: '
                f'{", ".join(self.task.splits)}.'
            )
        check_subset(subset, subset_seed, split)
        self.split = split
        self.subset = subset
        self.subset_seed = subset_seed
        data_root = os.path.expanduser(data_root or '')
        folder = _find_folder(data_root, self.task) or self.task.folder
        super().__init__(
            ann_file=os.path.join(folder, f'{split}.txt'),
            data_root=data_root,
            data_prefix=folder,
            pipeline=pipeline,
            **kwargs,
        )
        num_classes = self.task.num_classes
        # Merged here, because BaseDataset takes a string in `metainfo` for a file name.
        self._metainfo = {
            'benchmark': self.task.benchmark,
            'task': self.task.name,
            'classes': tuple(str(label) for label in range(num_classes)),
            **self._metainfo,
        }
        if len(self.CLASSES) != num_classes:
            raise ValueError(
                f'{self.task.folder} has {num_classes} classes, but `classes` names '
                f'{len(self.CLASSES)}.'
            )

    def load_data_list(self) -> list[dict]:
        """Read the split's list, check it and take the subset."""
        if not os.path.isdir(self.img_prefix):
            raise ValueError(_explain_missing(self.data_root, self.task))
        samples = read_image_list(self.ann_file, self.img_prefix, self.task.num_classes)
        expected = self.task.num_images[self.split]
        if len(samples) != expected:
            print_log(
                f'{self.ann_file} lists {len(samples)} images, but {self.split} of '
                f'{self.task.folder} has {expected}: results on this copy cannot be '
                'compared with published ones.',
                logger='current',
                level=logging.WARNING,
            )
        return take_subset(samples, self.subset, self.subset_seed)

    def extra_repr(self) -> list[str]:
        """The lines of ``repr`` that this data set adds."""
        return [
            f'Task: \t{self.task.folder} ({self.task.group})',
            f'Split: \t{self.split}',
            f'Subset: \t{self.subset:.4g} (seed {self.subset_seed})',
            *super().extra_repr(),
        ]


def _find_folder(root: str, task: Task) -> str | None:
    """The name under which the task's folder is in ``root``."""
    for folder in task.folders:
        if os.path.isdir(os.path.join(root, folder)):
            return folder
    return None


def _explain_missing(root: str, task: Task) -> str:
    """Say which folder was expected in ``root`` and what to do about it."""
    remedy = (
        'Fetch the VTAB-1k archive that the code of NOAH or RepAdapter distributes and '
        f'unpack it so that {os.path.join(root, task.folder)!r} holds '
        'images/<split>/000000.jpg, ... and <split>.txt.'
    )
    if not os.path.isdir(root):
        found = f'data_root {root!r} is not a folder'
    else:
        folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        found = f'{root!r} holds {", ".join(folders[:20]) or "no folders"}'
        below = [os.path.join(root, name) for name in folders]
        inner = [folder for folder in below if _find_folder(folder, task)]
        if inner:
            remedy = f'Pass {inner[0]!r} as data_root.'
        elif 'images' in folders or os.path.isfile(os.path.join(root, 'test.txt')):
            found += ', so it seems to be the folder of a single task'
            remedy = 'Pass the folder above it as data_root.'
    return (
        f'VTAB-1k: expected the folder {" or ".join(task.folders)} in data_root, but '
        f'{found}. {remedy}'
    )

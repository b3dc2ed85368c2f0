"""What the data sets of the table of tasks share."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from mmengine.logging import print_log

from mmdmlora.io import expand_home

from ..image_cache import CachedDataset
from ..images import leave_out_corrupt
from ..subset import check_part, check_seed, take_subset
from ..tasks import Task


class TaskDataset(CachedDataset):
    """A task of the table, read from a folder below ``data_root``.

    A subclass defines :meth:`read_split` and :attr:`remedy`.

    Args:
        task (Task): The task.
        data_root (str): The local folder that holds the tasks' folders.
        split (str): A split of the task.
        pipeline (Sequence): The processing pipeline.
        subset (float): The share of a training split to use, see
            :func:`~mmdmlora.datasets.take_subset`. Defaults to 1.0.
        subset_seed (int): The seed of the subset. Defaults to 0.
        skip_corrupt (bool): Whether images that are empty, cut off or can't be decoded
            are left out, with a warning that names them. By default such an image ends
            the run when its turn comes.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`, and
            ``cache`` and ``cache_gib`` of
            :class:`~mmdmlora.datasets.image_cache.CachedDataset`.

    Attributes:
        skipped (dict[str, str]): With ``skip_corrupt``, the paths of the images that
            were left out and what is wrong with each. Their number is ``num_skipped``
            in ``metainfo``, and so in checkpoints.

    Raises:
        ValueError: If the split is unknown, the task's folder is not in ``data_root``,
            or what is in it is broken.

    Note:
        ``skip_corrupt`` decodes every image once when the list is read, in each process.
        What is left is the same in every process, epoch and resumed run. Taking another
        image when a damaged one comes up would make training depend on chance, and a
        test in several processes would put predictions together with other images'
        labels. Every process has to see the same files. Images are left out after a
        subset or shots were drawn: the others that were drawn stay. 1,000 JPEG files of
        500 x 375 pixels take about 1.2 s of one core, see docs/data.md.
    """

    remedy = ''
    """Where the data comes from, for the message that it is missing."""

    def __init__(
        self,
        task: Task,
        data_root: str,
        split: str,
        pipeline: Sequence,
        subset: float = 1.0,
        subset_seed: int = 0,
        skip_corrupt: bool = False,
        **kwargs,
    ):
        if split not in task.splits:
            raise ValueError(
                f'{task.benchmark} has no split {split!r}. Known splits: '
                f'{", ".join(task.splits)}.'
            )
        check_part(subset, None, split)
        check_seed(subset_seed)
        self.task = task
        self.split = split
        self.subset = subset
        self.subset_seed = subset_seed
        self.skip_corrupt = skip_corrupt
        self.skipped: dict[str, str] = {}
        data_root = expand_home(data_root or '')
        found = _existing(data_root, task)
        super().__init__(
            ann_file='',
            data_root=data_root,
            data_prefix=(found or task.folders)[0],
            pipeline=pipeline,
            **kwargs,
        )
        # Merged here, because BaseDataset takes a string in `metainfo` for a file name.
        self._metainfo = {
            'benchmark': task.benchmark,
            'task': task.name,
            'classes': tuple(str(label) for label in range(task.num_classes)),
            **self._metainfo,
        }
        if len(self.CLASSES) != task.num_classes:
            raise ValueError(
                f'{task.folder} has {task.num_classes} classes, but `classes` names '
                f'{len(self.CLASSES)}.'
            )

    @property
    def folders(self) -> list[str]:
        """The task's folders in the data root, the canonical one first."""
        names = _existing(self.data_root, self.task)
        return [os.path.join(self.data_root, name) for name in names]

    def load_data_list(self) -> list[dict]:
        """Read the split, check it, take the subset and leave out corrupt images."""
        if not self.folders:
            raise ValueError(self._explain_missing())
        samples = self.read_split()
        if not samples:
            raise ValueError(
                f'the annotations in {self.img_prefix} list no image of {self.split}. '
                f'{self.remedy}'
            )
        expected = self.num_expected
        if len(samples) != expected:
            print_log(
                f'{self.img_prefix} has {len(samples)} images in {self.split}, but '
                f'{self.task.benchmark} has {expected} in that of {self.task.folder}: '
                'results on this copy cannot be compared with published ones.',
                logger='current',
                level=logging.WARNING,
            )
        samples = take_subset(samples, self.subset, self.subset_seed)
        if self.skip_corrupt:
            num_drawn = len(samples)
            samples, self.skipped = leave_out_corrupt(samples, self.pipeline, self.split)
            self._metainfo['num_skipped'] = num_drawn - len(samples)
        return samples

    def read_split(self) -> list[dict]:
        """Return all samples of the split, as
        :func:`~mmdmlora.datasets.benchmarks.image_list.check_entries` does."""
        raise NotImplementedError

    @property
    def num_expected(self) -> int:
        """The number of images that the whole split has in the paper."""
        return self.task.num_images[self.split]

    def extra_repr(self) -> list[str]:
        """The lines of ``repr`` that this data set adds."""
        return [
            f'Task: \t{self.task.folder} ({self.task.group})',
            f'Split: \t{self.split}',
            f'Subset: \t{self.subset:.4g} (seed {self.subset_seed})',
            f'Prefix of images: \t{self.img_prefix}',
        ]

    def _explain_missing(self) -> str:
        """Say which folder was expected in the data root and what to do about it."""
        root, remedy = self.data_root, self.remedy
        if not os.path.isdir(root):
            found = f'data_root {root!r} is not a folder'
        else:
            names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
            found = f'{root!r} holds {", ".join(names[:20]) or "no folders"}'
            for name in names:
                inner = os.path.join(root, name)
                if _existing(inner, self.task):
                    remedy = f'Pass {inner!r} as data_root.'
            is_task = 'images' in names or os.path.isfile(os.path.join(root, 'test.txt'))
            if is_task or os.path.basename(os.path.abspath(root)) in self.task.folders:
                remedy = 'Pass the folder above it as data_root.'
        return (
            f'{self.task.benchmark}: expected the folder '
            f'{" or ".join(self.task.folders)} in data_root, but {found}. {remedy}'
        )


def _existing(root: str, task: Task) -> list[str]:
    """The names under which a task's folder is in ``root``."""
    return [name for name in task.folders if os.path.isdir(os.path.join(root, name))]

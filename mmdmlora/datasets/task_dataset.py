"""What the data sets of FGVC and few-shot learning share."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mmengine.logging import print_log
from mmpretrain.datasets import BaseDataset

from .tasks import Task


class Entry(NamedTuple):
    """An image as an annotation file names it.

    Attributes:
        path: The image's path, relative to the folder that the file counts from.
        label: The class, as the file gives it.
        where: The place in the file, for error messages.
    """

    path: str
    label: object
    where: str


class TaskDataset(BaseDataset):
    """A task of the table, read from a folder below ``data_root``.

    A subclass defines :meth:`read_split` and :attr:`remedy`.

    Args:
        task (Task): The task.
        data_root (str): The local folder that holds the tasks' folders.
        split (str): A split of the task.
        pipeline (Sequence): The processing pipeline.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`.

    Raises:
        ValueError: If the split is unknown, the task's folder is not in ``data_root``,
            or what is in it is broken.
    """

    remedy = ''
    """Where the data comes from, for the message that it is missing."""

    def __init__(
        self, task: Task, data_root: str, split: str, pipeline: Sequence, **kwargs
    ):
        if split not in task.splits:
            raise ValueError(
                f'{task.benchmark} has no split {split!r}. Known splits: '
                f'{", ".join(task.splits)}.'
            )
        self.task = task
        self.split = split
        data_root = os.path.expanduser(data_root or '')
        found = [f for f in task.folders if os.path.isdir(os.path.join(data_root, f))]
        self.folders = [os.path.join(data_root, f) for f in found]
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

    def load_data_list(self) -> list[dict]:
        """Read the split and check it."""
        if not self.folders:
            raise ValueError(self._explain_missing())
        samples = self.read_split()
        expected = self.num_expected
        if len(samples) != expected:
            print_log(
                f'{self.img_prefix} has {len(samples)} images in {self.split}, but '
                f'{self.task.benchmark} has {expected} in that of {self.task.folder}: '
                'results on this copy cannot be compared with published ones.',
                logger='current',
                level=logging.WARNING,
            )
        return samples

    def read_split(self) -> list[dict]:
        """Return all samples of the split, as :func:`check_entries` does."""
        raise NotImplementedError

    @property
    def num_expected(self) -> int:
        """The number of images that the whole split has in the paper."""
        return self.task.num_images[self.split]

    def extra_repr(self) -> list[str]:
        """The lines of ``repr`` that this data set adds."""
        return [
            f'Task: \t{self.task.folder} ({self.task.benchmark})',
            f'Split: \t{self.split}',
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
                if any(os.path.isdir(os.path.join(inner, f)) for f in self.task.folders):
                    remedy = f'Pass {inner!r} as data_root.'
            if os.path.basename(os.path.abspath(root)) in self.task.folders:
                remedy = 'Pass the folder above it as data_root.'
        return (
            f'{self.task.benchmark}: expected the folder '
            f'{" or ".join(self.task.folders)} in data_root, but {found}. {remedy}'
        )


def check_entries(entries: Iterable[Entry], folder: str, num_classes: int) -> list[dict]:
    """Turn entries with 0-based labels into samples.

    Every image has to exist; each image folder is scanned once for that, which stays
    quick on network file systems. Where ``a/b.jpg`` isn't there, ``a/a/b.jpg`` is taken,
    and the other way round: some archives unpack into a folder of their own name twice.

    Args:
        entries: The entries.
        folder: The folder that their paths start from.
        num_classes: The number of classes.

    Returns:
        One dict per image, in the same order: ``img_path`` (``folder`` included) and
        ``gt_label``.

    Raises:
        ValueError: If there is no entry, or one has a label out of range, a path outside
            ``folder`` or an image that does not exist.
    """
    samples = []
    file_names: dict[str, set[str]] = {}
    for path, label, where in entries:
        if not (type(label) is int and 0 <= label < num_classes):
            raise ValueError(
                f'{where}: the label {label!r} is not an integer from 0 to '
                f'{num_classes - 1}. The task has {num_classes} classes; fetch the file '
                'again.'
            )
        relative = os.path.normpath(path)
        if os.path.isabs(relative) or relative.split(os.sep)[0] == os.pardir:
            raise ValueError(
                f'{where}: the path {path!r} leaves the folder of the data set. Write it '
                'relative to that folder.'
            )
        for candidate in _spellings(relative):
            img_path = os.path.join(folder, candidate)
            img_dir, img_name = os.path.split(img_path)
            if img_dir not in file_names:
                file_names[img_dir] = _list_files(img_dir)
            if img_name in file_names[img_dir]:
                break
        else:
            raise ValueError(
                f'{where}: the image {path!r} does not exist in {folder!r}. Unpack the '
                'images of the data set there, in the layout that this file is for.'
            )
        samples.append({'img_path': img_path, 'gt_label': label})
    if not samples:
        raise ValueError(
            f'{folder!r}: its annotations list no image for this split. Fetch them again.'
        )
    return samples


def _spellings(path: str) -> list[str]:
    """The path, and the same with its first folder doubled or no longer doubled."""
    first, *rest = path.split(os.sep)
    if not rest:
        return [path]
    if rest[0] == first:
        return [path, os.path.join(*rest)]
    return [path, os.path.join(first, path)]


def _list_files(folder: str) -> set[str]:
    if not os.path.isdir(folder):
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}

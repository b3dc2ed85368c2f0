"""Checking the data sets on disk before a training stumbles over them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from ..utils import quiet
from .layouts import LAYOUTS, Layout, Split
from .loading import find_faults, find_file_fault
from .tasks import Task


@dataclass
class SplitReport:
    """What was found out about one split.

    Attributes:
        benchmark: The benchmark's name.
        task: The task's canonical folder.
        parent: The folder that holds the task's folder.
        split: The split.
        expected: The number of images that the table of tasks has.
        found: The number of images in the list, None if the list can't be read.
        errors: What has to be mended.
        notes: What is worth knowing and no fault.
        bad_images: The faulty files and what is wrong with them.
    """

    benchmark: str
    task: str
    parent: str
    split: str
    expected: int
    found: int | None = None
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bad_images: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing has to be mended."""
        return not (self.errors or self.bad_images)


@dataclass(frozen=True)
class FoundTask:
    """A task whose folder is in ``parent``."""

    layout: Layout
    parent: str
    task: Task


def find_tasks(root: str) -> list[FoundTask]:
    """Find the tasks of every benchmark below a folder.

    Raises:
        ValueError: If there are none, with the places that were looked at.
    """
    root = os.path.expanduser(root)
    if not os.path.isdir(root):
        raise ValueError(f'{root!r} is not a folder.')
    found = []
    visited = set()
    for layout in LAYOUTS:
        for parent in (os.path.normpath(os.path.join(root, p)) for p in layout.parents):
            place = (layout.benchmark, os.path.realpath(parent))
            if place not in visited:
                visited.add(place)
                found += [
                    FoundTask(layout, parent, task)
                    for task in layout.tasks
                    if _holds(parent, task, layout)
                ]
    if not found:
        raise ValueError(_explain_nothing(root))
    return found


def _holds(parent: str, task: Task, layout: Layout) -> bool:
    return any(
        os.path.exists(os.path.join(parent, folder, mark.format(split=split)))
        for folder in task.folders
        for mark in layout.marks
        for split in {str(split.options['split']) for split in layout.splits(task)}
    )


def _explain_nothing(root: str) -> str:
    above, name = os.path.split(os.path.abspath(root))
    for layout in LAYOUTS:
        for task in layout.tasks:
            if name in task.folders and _holds(above, task, layout):
                return (
                    f'{root!r} is a single task of {layout.benchmark}. Pass the folder '
                    f'above it, {above!r}.'
                )
    lines = [f'no benchmark lies under {root!r}.']
    for layout in LAYOUTS:
        below = ', '.join(parent for parent in layout.parents if parent)
        folders = ', '.join(task.folder for task in layout.tasks)
        lines.append(
            f'{layout.benchmark}: one of the folders {folders} has to be there or in '
            f'{below}. Get it from {layout.source}.'
        )
    return '\n  '.join(lines)


def check_task(
    found: FoundTask,
    fast: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[SplitReport]:
    """Check the splits of a task: lists, counts, classes and images.

    Args:
        found: The task.
        fast: Leave out the images. Defaults to False.
        progress: Called with the number of images that are done and of all images, from
            the calling thread.

    Returns:
        A report on each split. An image that is in several splits is read once and
        reported in all of them.
    """
    reports, paths = [], []
    for split in found.layout.splits(found.task):
        report, images = _check_list(found, split)
        reports.append(report)
        paths.append(images)
    if not fast:
        faults = find_faults(sorted(set().union(*paths)), find_file_fault, progress)
        for report, images in zip(reports, paths, strict=True):
            report.bad_images = {p: faults[p] for p in images if p in faults}
    return reports


def _check_list(found: FoundTask, split: Split) -> tuple[SplitReport, list[str]]:
    """Check what a split's list says; also return the images' paths."""
    task = found.task
    report = SplitReport(
        found.layout.benchmark, task.folder, found.parent, split.name, split.expected
    )
    try:
        with quiet():
            samples = found.layout.open(found.parent, task, split).data_list
    except (ValueError, OSError) as error:
        report.errors.append(str(error))
        return report, []
    report.found = len(samples)
    if report.found != report.expected:
        report.errors.append(
            f'{report.found:,} images are listed where {report.expected:,} are expected. '
            f'Unpack the data set again; get it from {found.layout.source}.'
        )
    if split.options['split'] == 'test':
        labels = {int(sample['gt_label']) for sample in samples}
        absent = sorted(set(range(task.num_classes)) - labels)
        if absent:
            report.notes.append(
                f'{len(absent)} of {task.num_classes} classes have no image: '
                f'{", ".join(map(str, absent[:10]))}{", ..." if absent[10:] else ""}.'
            )
    return report, [sample['img_path'] for sample in samples]

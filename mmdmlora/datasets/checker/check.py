"""Checking the data sets on disk before a training stumbles over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ...quiet_log import quiet_log
from ..images import find_faults, find_file_fault
from .layouts import Split
from .search import FoundTask


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
        with quiet_log():
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

"""Finding the tasks of the benchmarks on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mmdmlora.io import expand_home

from ..tasks import Task
from .layouts import LAYOUTS, Layout


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
    root = expand_home(root)
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
    lines = [f'no benchmark lies under {root!r}, nor a folder of photos for each class.']
    for layout in LAYOUTS:
        below = ', '.join(parent for parent in layout.parents if parent)
        folders = ', '.join(task.folder for task in layout.tasks)
        lines.append(
            f'{layout.benchmark}: one of the folders {folders} has to be there or in '
            f'{below}. Get it from {layout.source}.'
        )
    return '\n  '.join(lines)

"""One HTML page about one run or several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mmdmlora._requirements import MissingExtraError, extra
from mmdmlora.io import atomic_write, expand_home

from .predictions import Predictions, predict
from .run_log import RunLog, read_run


def report(folders: Sequence[str], out: str, split: str | None = None) -> None:
    """Write a self-contained page about runs, side by side.

    Args:
        folders: The working directories of trainings.
        out: The page to write.
        split: The split for confusion matrix and misclassified images, ``val`` or
            ``test``; by default ``val`` if the run has one. Without its data the page
            says why they are left out.

    Raises:
        ValueError: If a folder holds no log of a training.
        MissingExtraError: Without matplotlib.
    """
    with extra('report'):
        from .page import page
    runs = [read_run(Path(expand_home(folder))) for folder in folders]
    _name_apart(runs)
    text = page(runs, [_predicted(run, split) for run in runs])
    with atomic_write(out) as stream:
        stream.write(text.encode())


def _predicted(run: RunLog, split: str | None) -> Predictions | str:
    """The predictions, or why there are none."""
    try:
        return predict(run, split)
    except (ValueError, OSError, MissingExtraError) as error:
        return str(error)


def _name_apart(runs: Sequence[RunLog]) -> None:
    """Name runs by as much of their paths as tells them apart."""
    if len({run.name for run in runs}) < len(runs):
        paths = [str(run.folder.resolve()) for run in runs]
        common = os.path.commonpath(paths) if len(set(paths)) > 1 else ''
        for place, (run, path) in enumerate(zip(runs, paths, strict=True)):
            run.name = (
                os.path.relpath(path, common) if common else f'{run.name} {place + 1}'
            )

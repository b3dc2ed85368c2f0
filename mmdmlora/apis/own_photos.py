"""From a folder of photos to a config that trains on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mmdmlora.datasets.photos import check_photos, split_photos, write_lists
from mmdmlora.io import atomic_write, expand_home

from .checks import check_files, check_writable
from .photo_config import PhotoSettings, photo_config, photo_config_text

REPEAT = 'repeat'


def prepare_photos(
    root: str | Path,
    settings: PhotoSettings,
    work_dir: str | Path | None = None,
    seed: int = 0,
    skip_corrupt: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, Path]:
    """Check and split photos, and write a config with lists into a new run's folder.

    ::

        work_dirs/photos
        └── repeat
            ├── photos.py                        <- what to train
            ├── classes.txt
            └── train.txt, val.txt, test.txt     <- the split

    The lists fix the split, so the config gives the same run after photos were added.

    Args:
        root (str | Path): The folder, see :func:`~mmdmlora.datasets.photos.read_tree`.
        settings (PhotoSettings): Backbone, method and the like.
        work_dir (str | Path, optional): The run's folder, which must be empty or
            missing. None means ``work_dirs/<name of the folder>``, or where that is
            taken, the same with ``-2``, ``-3`` and so on.
        seed (int): The seed of the split. Defaults to 0.
        skip_corrupt (bool): Leave out images that can't be read. Defaults to False.
        progress (Callable, optional): See
            :func:`~mmdmlora.datasets.photos.check_photos`.

    Returns:
        tuple[Path, Path]: The config and the run's folder.

    Raises:
        ValueError: If something is wrong with the photos, ``work_dir`` is taken or can't
            be written, or the backbone's weights are missing. Nothing is written then.
    """
    report = check_photos(root, progress=progress)
    if report.errors or (report.bad_images and not skip_corrupt):
        remedy = (
            ' (--skip-corrupt leaves out images that can not be read)'
            if report.bad_images
            else ''
        )
        title = f'mend the photos in {report.tree.root!r} first{remedy}.'
        raise ValueError('\n  '.join([title, *report.faults()]))
    splits = split_photos(report.tree, report.twins, seed)
    name = Path(report.tree.root).name or 'photos'
    folder = _free_folder(work_dir, name)
    file = folder / REPEAT / f'{name}.py'
    counts = {split: sum(map(len, images.values())) for split, images in splits.items()}
    text = photo_config_text(
        settings,
        report.tree.root,
        os.path.abspath(file.parent),
        counts,
        report.tree.classes,
    )
    check_files(photo_config(text, str(file)))
    write_lists(splits, file.parent)
    with atomic_write(file) as stream:
        stream.write(text.encode())
    return file, folder


def _free_folder(work_dir: str | Path | None, name: str) -> Path:
    """A folder for a new run, in which no other run would be lost.

    Raises:
        ValueError: If the folder that was asked for holds something, or no file can be
            made there.
    """
    remedy = 'Name another folder with --work-dir.'
    if work_dir is not None:
        folder = Path(expand_home(str(work_dir)))
        check_writable(folder, remedy)
        if _is_taken(folder):
            raise ValueError(
                f'{str(folder)!r} is not empty: the results in it could be lost. '
                f'{remedy} To go on with a run that was stopped: mmdmlora train '
                'RUN/<name>.py --resume.'
            )
        return folder
    folder, number = Path('work_dirs', name), 1
    check_writable(folder, remedy)
    while _is_taken(folder):
        number += 1
        folder = folder.with_name(f'{name}-{number}')
    return folder


def _is_taken(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))

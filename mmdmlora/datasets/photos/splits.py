"""Dividing photos into train, val and test, and keeping the division as lists."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmdmlora.io import atomic_write

from .tree import PhotoTree, Split

SHARE = 0.15
SPLITS = ('train', 'val', 'test')


def split_photos(
    tree: PhotoTree, twins: Sequence[Sequence[str]] = (), seed: int = 0
) -> dict[str, Split]:
    """Take the splits that a tree lacks from its training images.

    Each class gives 15 % of its images to each of them, at least one, so the splits have
    the shares of the classes. Copies of one image stay together: otherwise the model
    would be tested on what it was trained on. Which images a class gives depends on its
    own images and the seed alone.

    Args:
        tree (PhotoTree): The photos.
        twins (Sequence): The sets of images with the same content, as paths from the
            root.
        seed (int): The seed of the draw. The legacy generator of NumPy is drawn from,
            whose stream is frozen. Defaults to 0.

    Returns:
        dict: The images of each class in ``train``, ``val`` and ``test``, sorted.

    Raises:
        ValueError: If a class has fewer different images than splits that need one.
    """
    lacking = [name for name in SPLITS if name not in tree.splits]
    splits: dict[str, Split] = {name: {} for name in SPLITS}
    for kind, images in tree.splits['train'].items():
        groups = group_twins(images, twins)
        if len(groups) <= len(lacking):
            raise ValueError(too_few(kind, len(groups), lacking))
        generator = np.random.RandomState(zlib.crc32(kind.encode(), seed))
        order = [groups[i] for i in generator.permutation(len(groups))]
        count = max(1, round(SHARE * len(groups)))
        for name in lacking:
            splits[name][kind] = sorted(path for group in order[:count] for path in group)
            order = order[count:]
        splits['train'][kind] = sorted(path for group in order for path in group)
    return splits | {
        name: split for name, split in tree.splits.items() if name != 'train'
    }


def too_few(kind: str, count: int, lacking: Sequence[str]) -> str:
    """Say that a class has too few images, and why that many are needed."""
    need = len(lacking) + 1
    splits = ' and '.join(['train', *lacking])
    return (
        f'class {kind!r} must have at least {need} different {plural("image", need)}, '
        f'for {splits}, got {count}. Add photos, or move its folder away.'
    )


def plural(word: str, count: int) -> str:
    """The word, in the plural where that is due."""
    return word if count == 1 else f'{word}s'


def group_twins(images: list[str], twins: Sequence[Sequence[str]]) -> list[list[str]]:
    """The images, those with the same content together, sorted."""
    place = {path: number for number, group in enumerate(twins) for path in group}
    groups: dict[object, list[str]] = {}
    for path in images:
        groups.setdefault(place.get(path, path), []).append(path)
    return sorted(sorted(group) for group in groups.values())


def write_lists(splits: dict[str, Split], folder: str | Path) -> None:
    """Write ``classes.txt`` and a list for each split.

    Their lines are a class's name, and ``<path from the root> <label>`` as mmpretrain's
    ``CustomDataset`` reads it; the label is the place of the class in ``classes.txt``,
    from 0.

    Args:
        splits (dict): The images of each class in each split.
        folder (str | Path): Where to write; it is made where it's missing.

    Raises:
        OSError: If a file can't be written.
    """
    classes = sorted(splits['train'])
    _write(Path(folder, 'classes.txt'), classes)
    for name, split in splits.items():
        lines = [
            # The reader strips white space before the path.
            f'{os.path.join(".", path) if path[0].isspace() else path} {label}'
            for label, kind in enumerate(classes)
            for path in split.get(kind, ())
        ]
        _write(Path(folder, f'{name}.txt'), lines)


def _write(path: Path, lines: list[str]) -> None:
    with atomic_write(path) as stream:
        stream.write(''.join(f'{line}\n' for line in lines).encode())

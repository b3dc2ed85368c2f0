"""Reading a folder of photos: which classes, splits and images it has."""

from __future__ import annotations

import os
from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path

from mmdmlora.io import expand_home

# What the decoders read, and formats that people have: a fault names what can't be read.
IMAGE_ENDINGS = frozenset(
    [
        '.jpg',
        '.jpeg',
        '.jpe',
        '.jfif',
        '.png',
        '.webp',
        '.bmp',
        '.dib',
        '.gif',
        '.tif',
        '.tiff',
        '.ppm',
        '.pgm',
        '.pbm',
        '.pnm',
        '.jp2',
        '.avif',
        '.heic',
        '.heif',
    ]
)
SPLIT_NAMES = dict(
    train='train',
    training='train',
    val='val',
    valid='val',
    validation='val',
    test='test',
    testing='test',
)
# What systems leave behind beside photos.
SYSTEM_FILES = ('thumbs.db', 'desktop.ini')
SYSTEM_FOLDERS = ('__MACOSX', '@eaDir')

Split = dict[str, list[str]]
"""The images of each class, as paths from the root."""


@dataclass(frozen=True)
class PhotoTree:
    """The photos below a folder.

    Attributes:
        root (str): The absolute path of the folder.
        splits (dict): ``train``, ``val`` and ``test``, as far as the folder has them:
            the images of each class, as paths from ``root``. Folders without a split
            are ``train``.
        others (tuple[str, ...]): Files and folders that are left out.
    """

    root: str
    splits: dict[str, Split]
    others: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """The names of the classes, sorted: those of ``train``."""
        return sorted(self.splits['train'])

    def paths(self) -> list[str]:
        """All images, as paths from ``root``."""
        return [
            path
            for split in self.splits.values()
            for images in split.values()
            for path in images
        ]

    def without(self, paths: Container[str]) -> PhotoTree:
        """The tree without some images; a class may be left empty."""
        splits = {
            name: {
                kind: [path for path in images if path not in paths]
                for kind, images in split.items()
            }
            for name, split in self.splits.items()
        }
        return replace(self, splits=splits)


def read_tree(root: str | Path) -> PhotoTree:
    """Read a folder of photos.

    Either a folder a class, or the same in folders of splits (``valid``, ``validation``
    and the like are known, too)::

        photos                      photos
        ├── house cat               ├── train
        │   ├── 1.jpg               │   ├── house cat
        │   └── indoors/2.png       │   └── dog
        └── dog                     ├── val
                                    └── test

    Below a class, folders may be nested; links are followed. Hidden files are passed
    over.

    Args:
        root (str | Path): The folder.

    Returns:
        PhotoTree: What is there; :func:`~.check.check_photos` judges it.

    Raises:
        ValueError: If there is no such folder, or no folder of a class in it.
    """
    root = os.path.abspath(expand_home(str(root)))
    if not os.path.isdir(root):
        raise ValueError(f'there is no folder {root!r}: name the folder of your photos.')
    folders, files = folder_entries(root)
    split_folders = _split_folders(root, folders)
    if split_folders:
        others = [f for f in folders if f not in split_folders.values()] + files
        splits = {}
        for name, folder in split_folders.items():
            splits[name], left_out = _read_classes(root, folder)
            others += left_out
    else:
        classes, others = _read_classes(root, '')
        splits = dict(train=classes)
    if not splits['train']:
        loose = [name for name in others if is_image(name)]
        got = f'it holds {len(loose)} images, but no folder' if loose else 'got none'
        raise ValueError(
            f'{root!r} must have a folder of photos for each class, such as cats/ and '
            f'dogs/: {got}. Move the photos of each class into a folder of its own.'
        )
    return PhotoTree(root, splits, tuple(others))


def find_images(folder: str) -> tuple[list[str], list[str]]:
    """The images below a folder, and the other files, sorted; links are followed."""
    images: list[str] = []
    others: list[str] = []
    visited = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in visited:
            folders.clear()
            continue
        visited.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in filter(lambda name: not _is_hidden(name), files):
            (images if is_image(name) else others).append(os.path.join(place, name))
    return sorted(images), sorted(others)


def class_folders(root: str) -> list[str]:
    """The folders of classes, in each split; see :func:`read_tree`."""
    folders, _ = folder_entries(root)
    splits = _split_folders(root, folders).values()
    tops = [os.path.join(root, split) for split in splits] or [root]
    return [os.path.join(top, name) for top in tops for name in folder_entries(top)[0]]


def _split_folders(root: str, folders: list[str]) -> dict[str, str]:
    """The folder of each split; none where the folders are classes.

    A folder ``train`` that holds images itself is a class: the vehicle.
    """
    found: dict[str, str] = {}
    for folder in folders:
        name = SPLIT_NAMES.get(folder.lower())
        if name is None:
            continue
        if name in found:
            raise ValueError(
                f'{root!r} has two folders for the split {name}: {found[name]!r} and '
                f'{folder!r}. Leave one.'
            )
        found[name] = folder
    if 'train' in found:
        classes, files = folder_entries(os.path.join(root, found['train']))
        is_class = not classes or any(map(is_image, files))
        if not is_class:
            return {
                name: found[name] for name in ('train', 'val', 'test') if name in found
            }
    elif found and len(found) == len(folders):
        raise ValueError(
            f'{root!r} has the splits {sorted(found)}, but no folder train/ with a '
            'folder of photos for each class. Add it.'
        )
    return {}


def _read_classes(root: str, folder: str) -> tuple[Split, list[str]]:
    """The images of each class in a folder of the root, and what is left out."""
    top = os.path.join(root, folder)
    names, files = folder_entries(top)
    others = [os.path.join(folder, name) for name in files]
    split: Split = {}
    for name in names:
        images, left_out = find_images(os.path.join(top, name))
        split[name] = [os.path.relpath(path, root) for path in images]
        others += [os.path.relpath(path, root) for path in left_out]
    return split, others


def folder_entries(folder: str) -> tuple[list[str], list[str]]:
    """The names of the folders and of the files in a folder, without hidden ones."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not _is_hidden(entry.name)]
    folders = sorted(entry.name for entry in visible if entry.is_dir())
    return folders, sorted(entry.name for entry in visible if not entry.is_dir())


def _is_hidden(name: str) -> bool:
    return name.startswith('.') or name.lower() in SYSTEM_FILES or name in SYSTEM_FOLDERS


def is_image(name: str) -> bool:
    """Whether a file is an image, by its ending."""
    return os.path.splitext(name)[1].lower() in IMAGE_ENDINGS

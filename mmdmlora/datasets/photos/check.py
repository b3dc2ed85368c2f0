"""Saying what is wrong with a folder of photos before a model is trained on it."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mmdmlora.io import expand_home

from ..images import find_faults, find_file_fault
from .splits import SPLITS, group_twins, plural, too_few
from .tree import (
    PhotoTree,
    class_folders,
    find_images,
    folder_entries,
    is_image,
    read_tree,
)

SHOWN = 5
UNEQUAL = 10


@dataclass
class PhotoReport:
    """What was found out about a folder of photos.

    Attributes:
        tree (PhotoTree): The photos that can be read.
        bad_images (dict[str, str]): The others, as paths, and what is wrong with each.
        errors (list[str]): What else has to be mended.
        notes (list[str]): What is worth knowing and no fault.
        twins (list[list[str]]): The sets of images with the same content, as paths from
            the root.
    """

    tree: PhotoTree
    bad_images: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    twins: list[list[str]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing has to be mended."""
        return not (self.errors or self.bad_images)

    def faults(self) -> list[str]:
        """A line for each kind of damage of an image, and for each error."""
        kinds = defaultdict(list)
        for path, fault in self.bad_images.items():
            kinds[fault].append(path)
        damaged = [
            f'{len(paths)} {plural("image", len(paths))}: the file {fault}: '
            f'{shown(paths)}'
            for fault, paths in kinds.items()
        ]
        return [*damaged, *self.errors]

    def counts(self) -> dict[str, dict[str, int]]:
        """The number of images of each class in each split."""
        return {
            name: {kind: len(split[kind]) for kind in sorted(split)}
            for name, split in self.tree.splits.items()
        }

    def as_json(self) -> dict:
        """The report as plain data."""
        content = asdict(self) | dict(ok=self.ok, splits=self.counts())
        del content['tree']
        return dict(root=self.tree.root, **content)


def is_photo_tree(root: str | Path) -> bool:
    """Whether each folder of a class holds images itself, or nothing.

    No benchmark's root is like that. Lists beside the folders are those of a single task
    of a benchmark.
    """
    root = Path(expand_home(str(root)))
    if not root.is_dir() or [*root.glob('*.json'), *root.glob('*.mat')]:
        return False
    try:
        folders = class_folders(str(root))
    except ValueError:  # It is a tree of photos, with a fault.
        return True
    contents = [folder_entries(folder) for folder in folders]
    direct = [any(map(is_image, files)) for _, files in contents]
    is_empty = [not names and not files for names, files in contents]
    return any(direct) and all(map(any, zip(direct, is_empty, strict=True)))


def may_be_photos(root: str | Path) -> bool:
    """Whether a folder in which no benchmark lies may be meant for photos.

    It holds images itself, or two folders with some, however deep.
    """
    root = expand_home(str(root))
    if not os.path.isdir(root):
        return False
    folders, files = folder_entries(root)
    holding = [f for f in folders if find_images(os.path.join(root, f))[0]]
    return len(holding) > 1 or any(map(is_image, files))


def check_photos(
    root: str | Path,
    fast: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PhotoReport:
    """Check a folder of photos, see :func:`~.tree.read_tree`.

    Args:
        root (str | Path): The folder.
        fast (bool): Don't open the images. Defaults to False.
        progress (Callable, optional): Called with the number of images that are done and
            of all images, from the calling thread.

    Returns:
        PhotoReport: What must be mended, and what is worth knowing.

    Raises:
        ValueError: If there is no folder of a class.
    """
    tree = read_tree(root)
    report = PhotoReport(tree)
    if not fast:
        paths = [os.path.join(tree.root, path) for path in tree.paths()]
        report.bad_images = find_faults(paths, find_file_fault, progress)
        bad = {os.path.relpath(path, tree.root) for path in report.bad_images}
        report.tree = tree.without(bad)
        report.twins = _find_twins(report.tree)
    report.errors = [*_name_faults(tree), *_class_faults(report), *_twin_faults(report)]
    report.notes = _notes(report)
    return report


def shown(names: list[str]) -> str:
    """The first names, and how many others there are."""
    rest = f' and {len(names) - SHOWN} others' if names[SHOWN:] else ''
    return ', '.join(map(repr, names[:SHOWN])) + rest


def _find_twins(tree: PhotoTree) -> list[list[str]]:
    """The sets of images whose files are equal; only files of one size are read."""
    sizes = defaultdict(list)
    for path in tree.paths():
        sizes[os.path.getsize(os.path.join(tree.root, path))].append(path)
    contents = defaultdict(list)
    for paths in sizes.values():
        for path in paths if len(paths) > 1 else ():
            content = Path(tree.root, path).read_bytes()
            contents[hashlib.sha256(content).digest()].append(path)
    return [paths for paths in contents.values() if len(paths) > 1]


def _name_faults(tree: PhotoTree) -> list[str]:
    """Names that no list can hold."""
    names = [path for path in [*tree.classes, *tree.paths()] if not _is_writable(path)]
    return [
        f'{name!r} has a line break or no UTF-8 in its name. Rename it.'
        for name in names[:SHOWN]
    ]


def _is_writable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return len(name.splitlines()) == 1


def _class_faults(report: PhotoReport) -> list[str]:
    """Classes that are empty, too small or unknown in training."""
    tree, errors = report.tree, []
    lacking = [name for name in SPLITS if name not in tree.splits]
    if len(tree.classes) == 1:
        errors.append(
            f'there must be at least 2 classes, got 1: {tree.classes[0]!r}. Add a folder '
            'with photos of another class.'
        )
    for kind, images in sorted(tree.splits['train'].items()):
        count = len(group_twins(images, report.twins))
        if not images:
            errors.append(
                f'class {kind!r} has no image that can be read. Add photos to its '
                'folder, or remove it.'
            )
        elif count <= len(lacking):
            errors.append(too_few(kind, count, lacking))
    for name in [n for n in SPLITS[1:] if n in tree.splits]:
        unknown = sorted(set(tree.splits[name]) - set(tree.classes))
        if unknown:
            errors.append(
                f'{name}/ has classes that train/ lacks: {shown(unknown)}. Give train/ '
                'photos of them, or mend their names.'
            )
        if not any(tree.splits[name].values()):
            errors.append(
                f'{name}/ has no images. Add some, or remove the folder: then images of '
                'train/ are taken.'
            )
    return errors


def _twin_faults(report: PhotoReport) -> list[str]:
    """Images that are in two classes, or in two splits."""
    home = {
        path: (name, kind)
        for name, split in report.tree.splits.items()
        for kind, images in split.items()
        for path in images
    }
    errors = []
    for title, place in (('splits', 0), ('classes', 1)):
        groups = [g for g in report.twins if len({home[path][place] for path in g}) > 1]
        if groups:
            count = len(groups)
            errors.append(
                f'{count} {plural("image", count)} in two {title}, for example '
                f'{" and ".join(map(repr, groups[0]))}. Leave each in one.'
            )
    return errors


def _notes(report: PhotoReport) -> list[str]:
    tree, notes = report.tree, []
    for name in [n for n in SPLITS[1:] if n in tree.splits]:
        split = tree.splits[name]
        absent = [kind for kind in tree.classes if not split.get(kind)]
        if absent:
            notes.append(f'{name}/ has no images of {shown(absent)}.')
    sizes = {kind: len(images) for kind, images in tree.splits['train'].items()}
    small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    if sizes[large] > UNEQUAL * max(sizes[small], 1):
        notes.append(
            f'the classes are very unequal: {large!r} has {sizes[large]} images, '
            f'{small!r} {sizes[small]}. The model will favour large ones.'
        )
    copies = sum(len(group) - 1 for group in report.twins)
    if copies:
        notes.append(
            f'{copies} {plural("file", copies)} with the content of another one. Copies '
            'in one class stay in one split.'
        )
    if tree.others:
        notes.append(
            f'left out, because no image of a class: {shown(list(tree.others))}.'
        )
    return notes

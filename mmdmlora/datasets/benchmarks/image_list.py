"""Annotations as lists of images and labels, with the checks that catch a broken copy."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple


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


def read_lines(file: str) -> list[tuple[int, str]]:
    """The lines of a text file that aren't blank, with their numbers from 1.

    Windows line ends and a byte order mark are accepted.

    Raises:
        ValueError: If there is no such file.
    """
    if not os.path.isfile(file):
        raise ValueError(
            f'The file {file!r} does not exist. Unpack the data set again, or choose a '
            'split whose list is there.'
        )
    with open(file, encoding='utf-8-sig', errors='surrogateescape') as stream:
        stripped = [line.strip() for line in stream]
    return [(number, line) for number, line in enumerate(stripped, 1) if line]


def read_list(file: str) -> list[Entry]:
    """Read a list of ``<image path> <label>`` lines.

    The label stands behind the last white space of a line and is a 0-based integer.

    Raises:
        ValueError: If the file is missing or empty, or a line is malformed.
    """
    entries = []
    for number, line in read_lines(file):
        where = f'{file}, line {number}'
        path, label = line.rsplit(maxsplit=1) if len(line.split()) > 1 else ('', line)
        if not path:
            raise ValueError(
                f'{where}: expected "<image path> <label>", such as '
                f'"images/train800/000000.jpg 7", but got {line!r}.'
            )
        is_number = label.isascii() and label.isdigit()
        entries.append(Entry(path, int(label) if is_number else label, where))
    if not entries:
        raise ValueError(f'The list {file!r} is empty. Unpack the data set again.')
    return entries


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
        ValueError: If an entry has a label out of range, a path outside ``folder`` or an
            image that does not exist.
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

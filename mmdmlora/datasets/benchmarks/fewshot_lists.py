"""Reading the few-shot lists of NOAH and CoOp."""

from __future__ import annotations

import os
import random
from reprlib import repr as shorten

from .annotation_files import read_json
from .image_list import Entry, read_lines, read_list


def draw_shots(entries: list[Entry], num_shots: int, seed: int) -> list[Entry]:
    """Draw images of each class, the same as CoOp's code.

    Classes are taken in the order in which they first occur, from one stream of random
    numbers. A class with no more images than ``num_shots`` keeps them all.

    Args:
        entries: All training images.
        num_shots: How many images to draw of each class.
        seed: The seed of Python's generator; the global one is left alone.
    """
    generator = random.Random(seed)
    classes: dict[int, list[Entry]] = {}
    for entry in entries:
        classes.setdefault(entry.label, []).append(entry)
    drawn = []
    for members in classes.values():
        enough = len(members) >= num_shots
        drawn += generator.sample(members, num_shots) if enough else members
    return drawn


def read_noah(file: str) -> list[Entry]:
    """Read a list of ``<image path> <label>`` lines; a repeated line counts once."""
    first: dict[str, Entry] = {}
    for entry in read_list(file):
        seen = first.setdefault(entry.path, entry)
        if seen.label != entry.label:
            raise ValueError(
                f'{entry.where}: {entry.path!r} has the label {entry.label} here and '
                f'{seen.label} above. Fetch the list again.'
            )
    return list(first.values())


def read_coop(file: str, split: str) -> list[Entry]:
    """Read a split of CoOp's JSON file, or Aircraft's own list."""
    if not file.endswith('.json'):
        return _read_aircraft(file)
    content = read_json(file)
    rows = content.get(split) if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise ValueError(f'{file} has no list {split!r}. Fetch it again.')
    names: dict[int, str] = {}
    entries = []
    for number, row in enumerate(rows):
        where = f'{file}, {split} {number}'
        if not (isinstance(row, list) and [type(x) for x in row] == [str, int, str]):
            raise ValueError(
                f'{where}: expected [path, label, class name], but got {shorten(row)}. '
                'Fetch the file again.'
            )
        path, label, name = row
        if names.setdefault(label, name) != name:
            raise ValueError(
                f'{where}: the label {label} is {name!r} here and {names[label]!r} '
                'above. Fetch the file again.'
            )
        entries.append(Entry(path, label, where))
    return entries


def _read_aircraft(file: str) -> list[Entry]:
    variants_file = os.path.join(os.path.dirname(file), 'variants.txt')
    labels = {name: label for label, (_, name) in enumerate(read_lines(variants_file))}
    entries = []
    for number, line in read_lines(file):
        image, _, variant = line.partition(' ')
        where = f'{file}, line {number}'
        if variant not in labels:
            raise ValueError(
                f'{where}: {variant!r} is not in {variants_file}. Fetch both files again.'
            )
        entries.append(Entry(f'{image}.jpg', labels[variant], where))
    return entries

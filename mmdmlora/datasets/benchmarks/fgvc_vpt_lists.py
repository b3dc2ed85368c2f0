"""Reading the lists of FGVC's images that VPT's repository links to."""

from __future__ import annotations

import os
from reprlib import repr as shorten

from .annotation_files import read_json
from .image_list import Entry


def read_vpt_list(file: str) -> list[Entry]:
    """Read one of VPT's lists, which map an image's path to the id of its class.

    Args:
        file: ``train.json``, ``val.json`` or ``test.json`` in the data set's folder.

    Returns:
        The images with integer ids. CUB's list has them as text, such as '001'.

    Raises:
        ValueError: If the file is missing, or isn't such a list.
    """
    if not os.path.isfile(file):
        raise ValueError(
            f'{file!r} does not exist, but another of the three lists does. Put '
            'train.json, val.json and test.json there, or none of them.'
        )
    ids = read_json(file)
    if not isinstance(ids, dict) or not ids:
        raise ValueError(
            f'{file} is not a list of VPT: expected {{"<image path>": <class id>, ...}}. '
            'Fetch it again.'
        )
    entries = []
    for path, id_ in ids.items():
        if isinstance(id_, str) and id_.isdecimal() and len(id_) < 10:
            id_ = int(id_)
        if type(id_) is not int:
            raise ValueError(
                f'{file}, key {path!r}: the class id {shorten(id_)} is not an integer. '
                'Fetch the file again.'
            )
        entries.append(Entry(path, id_, f'{file}, key {path!r}'))
    return entries

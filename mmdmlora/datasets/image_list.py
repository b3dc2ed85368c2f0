"""Reading lists of images and labels, with the checks that catch a broken copy."""

from __future__ import annotations

import os


def read_image_list(list_file: str, folder: str, num_classes: int) -> list[dict]:
    """Read a list of ``<image path> <label>`` lines.

    The label stands behind the last white space of a line and is a 0-based integer; the
    path is relative to ``folder``. Blank lines and Windows line ends are accepted.
    Every image has to exist; each image folder is scanned once for that, which stays
    quick on network file systems.

    Args:
        list_file: The list.
        folder: The folder that the image paths start from.
        num_classes: The number of classes.

    Returns:
        One dict per image, in the order of the list: ``img_path`` (``folder`` included)
        and ``gt_label``.

    Raises:
        ValueError: If the list is missing or empty, or a line is malformed, has a label
            out of range, a path outside ``folder`` or an image that does not exist.
    """
    if not os.path.isfile(list_file):
        raise ValueError(
            f'The image list {list_file!r} does not exist. Unpack the data set again '
            'or choose a split whose list is there.'
        )
    samples = []
    file_names: dict[str, set[str]] = {}
    with open(list_file, encoding='utf-8-sig', errors='surrogateescape') as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f'{list_file}, line {number}'
            path, label = _parse_line(line, num_classes, where)
            img_path = os.path.join(folder, path)
            img_dir, img_name = os.path.split(img_path)
            if img_dir not in file_names:
                file_names[img_dir] = _list_files(img_dir)
            if img_name not in file_names[img_dir]:
                raise ValueError(
                    f'{where}: the image {path!r} does not exist in {folder!r}. Unpack '
                    'the data set again, list and images together.'
                )
            samples.append({'img_path': img_path, 'gt_label': label})
    if not samples:
        raise ValueError(
            f'The image list {list_file!r} is empty. Unpack the data set again.'
        )
    return samples


def _parse_line(line: str, num_classes: int, where: str) -> tuple[str, int]:
    """Split a line into the normalised relative path and the label."""
    fields = line.strip().rsplit(maxsplit=1)
    if len(fields) != 2:
        raise ValueError(
            f'{where}: expected "<image path> <label>", such as '
            f'"images/train800/000000.jpg 7", but got {line.strip()!r}.'
        )
    path, label = os.path.normpath(fields[0]), fields[1]
    if not (label.isascii() and label.isdigit() and int(label) < num_classes):
        raise ValueError(
            f'{where}: the label {label!r} is not an integer from 0 to '
            f'{num_classes - 1}. Labels count from 0; the task has {num_classes} '
            'classes.'
        )
    if os.path.isabs(path) or path.split(os.sep)[0] == os.pardir:
        raise ValueError(
            f'{where}: the path {fields[0]!r} leaves the folder of the data set. Write '
            'it relative to that folder.'
        )
    return path, int(label)


def _list_files(folder: str) -> set[str]:
    if not os.path.isdir(folder):
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}

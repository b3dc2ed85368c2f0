"""Reading FGVC's data sets as their authors distribute them, without VPT's lists."""

from __future__ import annotations

import os

import numpy as np

from ..subset import balanced_order
from ..tasks import Task
from .annotation_files import read_mat
from .image_list import Entry

Splits = dict[str, list[Entry]]

SPLIT_SEED = 0


def read_author_files(task: Task, folder: str) -> Splits:
    """Read all splits of an FGVC task.

    Where the authors give no validation split, a share of their training images is it:
    the paper's share (Table 8), drawn class by class with a fixed seed. These are not
    VPT's images, which nobody can draw again without VPT's lists.

    Args:
        task: The task.
        folder: Its folder.

    Returns:
        The images of 'train', 'val' and 'test', with paths relative to ``folder`` and
        the authors' class ids.

    Raises:
        ValueError: If annotation files are missing or don't fit each other.
    """
    splits = READERS[task.name](folder)
    if 'val' not in splits:
        counts = task.num_images
        pool = splits['train']
        num_train = round(len(pool) * counts['train'] / counts['trainval'])
        order = balanced_order([entry.label for entry in pool], SPLIT_SEED)
        splits['train'] = [pool[i] for i in sorted(order[:num_train])]
        splits['val'] = [pool[i] for i in sorted(order[num_train:])]
    return splits


def _read_birds(folder: str) -> Splits:
    """CUB and NABirds: lists of ``<image id> <value>`` that the image's id joins.

    NABirds' ids have dashes and its paths don't; the list of paths is authoritative.
    """
    paths, ids, is_train = (
        _read_table(os.path.join(folder, name))
        for name in ('images.txt', 'image_class_labels.txt', 'train_test_split.txt')
    )
    labels_file = os.path.join(folder, 'image_class_labels.txt')
    splits: Splits = {'train': [], 'test': []}
    for image, path in paths.items():
        where = f'{labels_file}, image {image}'
        if not ids.get(image, '').isdecimal() or is_train.get(image) not in ('0', '1'):
            raise ValueError(
                f'{where}: expected a class id there and 0 or 1 in train_test_split.txt, '
                f'but got {ids.get(image)!r} and {is_train.get(image)!r}. Unpack the '
                'three lists again, from one archive.'
            )
        split = 'train' if is_train[image] == '1' else 'test'
        splits[split].append(Entry(f'images/{path}', int(ids[image]), where))
    return splits


def _read_table(file: str) -> dict[str, str]:
    """Read lines of a key and the rest, which may hold spaces."""
    table = {}
    with open(_require(file), encoding='utf-8-sig') as lines:
        for line in lines:
            if line.strip():
                key, *value = line.strip().split(maxsplit=1)
                table[key] = value[0] if value else ''
    return table


def _read_flowers(folder: str) -> Splits:
    """Flowers: image numbers of each split, and a class id for each image."""
    labels_file = os.path.join(folder, 'imagelabels.mat')
    ids = _load(labels_file, 'labels')
    set_file = os.path.join(folder, 'setid.mat')
    keys = {'train': 'trnid', 'val': 'valid', 'test': 'tstid'}
    splits: Splits = {}
    for split, key in keys.items():
        splits[split] = []
        for number in _load(set_file, key).tolist():
            if not 1 <= number <= len(ids):
                raise ValueError(
                    f'{set_file}, {key}: the image {number} is not among the {len(ids)} '
                    f'of {labels_file}. Fetch both files again.'
                )
            path = f'jpg/image_{number:05d}.jpg'
            where = f'{labels_file}, image {number}'
            splits[split].append(Entry(path, int(ids[number - 1]), where))
    return splits


def _read_dogs(folder: str) -> Splits:
    """Dogs: names without an extension and class ids from 1."""
    splits: Splits = {}
    for split in ('train', 'test'):
        file = os.path.join(folder, f'{split}_list.mat')
        names = _load(file, 'annotation_list')
        splits[split] = [
            Entry(f'Images/{name}.jpg', int(label), f'{file}, image {name}')
            for name, label in _zip(file, names, _load(file, 'labels'))
        ]
    return splits


def _read_cars(folder: str) -> Splits:
    """Cars: one list for ``car_ims/``, or a development kit for two image folders."""
    file = os.path.join(folder, 'cars_annos.mat')
    if os.path.isfile(file):
        splits: Splits = {'train': [], 'test': []}
        for path, label, is_test in _fields(file, 'relative_im_path', 'class', 'test'):
            entry = Entry(str(path), int(label), f'{file}, image {path}')
            splits['test' if int(is_test) else 'train'].append(entry)
        return splits
    kits = ('devkit', 'car_devkit/devkit', 'devkit/devkit', '')
    names = {
        'train': 'cars_train_annos.mat',
        'test': 'cars_test_annos_withlabels.mat',
    }
    splits = {}
    for split, name in names.items():
        files = [os.path.join(folder, kit, name) for kit in kits]
        file = next(filter(os.path.isfile, files), files[0])
        splits[split] = [
            Entry(f'cars_{split}/{path}', int(label), f'{file}, image {path}')
            for path, label in _fields(file, 'fname', 'class')
        ]
    return splits


READERS = {
    'cub': _read_birds,
    'nabirds': _read_birds,
    'flowers': _read_flowers,
    'dogs': _read_dogs,
    'cars': _read_cars,
}


def _load(file: str, key: str) -> np.ndarray:
    return read_mat(_require(file), key)


def _fields(file: str, *names: str) -> zip:
    """Read fields of the variable ``annotations`` of a MATLAB file, image by image."""
    annotations = _load(file, 'annotations')
    missing = set(names) - set(annotations.dtype.names or ())
    if missing:
        raise ValueError(
            f'{file}: its annotations lack {", ".join(sorted(missing))}. Fetch the file '
            'with labels.'
        )
    return zip(*(annotations[name] for name in names), strict=True)


def _zip(file: str, names: np.ndarray, labels: np.ndarray) -> zip:
    if len(names) != len(labels):
        raise ValueError(
            f'{file} has {len(names)} images, but {len(labels)} labels. Fetch it again.'
        )
    return zip(names, labels, strict=True)


def _require(file: str) -> str:
    if not os.path.isfile(file):
        raise ValueError(
            f"{file!r} does not exist. Put VPT's train.json, val.json and test.json into "
            "the data set's folder, or the annotation files of its authors."
        )
    return file

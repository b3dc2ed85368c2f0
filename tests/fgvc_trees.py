"""Small copies of the FGVC and few-shot sets, in the layouts that users have on disk.

The pixels of an image say of which class it is, see :func:`tests.trees.decode`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SPLITS = ('train', 'val', 'test')
COOP_NAMES = {
    'food101': 'Food101',
    'flowers': 'OxfordFlowers',
    'pets': 'OxfordPets',
    'cars': 'StanfordCars',
}


def colour_of(label: int) -> tuple[int, int, int]:
    """A colour for each of up to 1,000 labels that JPEG compression keeps apart."""
    return tuple(
        25 * digit + 12 for digit in (label // 100, label // 10 % 10, label % 10)
    )


def label_in(img_path: str | Path) -> int:
    """Read the label of an image from its pixels."""
    with Image.open(img_path) as img:
        hundreds, tens, ones = np.asarray(img)[4, 4].astype(int) // 25
    return int(100 * hundreds + 10 * tens + ones)


def write_image(path: Path, label: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (8, 8), colour_of(label)).save(path, quality=100, subsampling=0)


def plan(num_classes: int, **counts: int) -> dict[str, list[int]]:
    """The labels of the images of each split, the classes in turn, mixed up."""
    labels = {}
    for split, count in counts.items():
        order = np.random.RandomState(len(labels)).permutation(count * num_classes)
        labels[split] = (order % num_classes).tolist()
    return labels


def json_set(
    folder: Path, images: str, ids: list, labels: dict[str, list[int]]
) -> dict[str, dict[str, object]]:
    """Write an FGVC set with VPT's lists.

    Args:
        folder: The set's folder.
        images: The folder in it that paths start from.
        ids: The class id of each label, in the type that the list has.
        labels: The labels of each split's images.

    Returns:
        The lists.
    """
    lists = {}
    for split, members in labels.items():
        lists[split] = {}
        for number, label in enumerate(members):
            path = f'{ids[label]}.A class/{split} {number}.jpg'
            write_image(folder / images / path, label)
            lists[split][path] = ids[label]
        (folder / f'{split}.json').write_text(json.dumps(lists[split]))
    return lists


def bird_set(
    folder: Path, ids: list[int], labels: dict[str, list[int]], uuids: bool
) -> None:
    """Write CUB or, with uuids as the images' names, NABirds, in the authors' layout.

    ``classes.txt`` has classes without images, and names with spaces.
    """
    tables = {'images': [], 'image_class_labels': [], 'train_test_split': []}
    number = 0
    for split, members in labels.items():
        for label in members:
            number += 1
            image = f'{number:08x}-bd16-4dc9-8bfe-{number:012x}' if uuids else f'{number}'
            path = f'{ids[label]:04d}/{image.replace("-", "")}.jpg'
            write_image(folder / 'images' / path, label)
            tables['images'].append(f'{image} {path}')
            tables['image_class_labels'].append(f'{image} {ids[label]}')
            tables['train_test_split'].append(f'{image} {int(split == "train")}')
    tables['classes'] = [f'{i} Bird of kind {i} (Adult)' for i in range(max(ids) + 9)]
    for name, lines in tables.items():
        (folder / f'{name}.txt').write_text('\n'.join(lines) + '\n')


def flower_set(folder: Path, labels: dict[str, list[int]]) -> None:
    """Write Flowers in the authors' layout, the test images first."""
    all_labels = [*labels['test'], *labels['train'], *labels['val']]
    for number, label in enumerate(all_labels, 1):
        write_image(folder / 'jpg' / f'image_{number:05d}.jpg', label)
    ends = np.cumsum([0] + [len(labels[s]) for s in ('test', 'train', 'val')])
    numbers = [
        np.arange(a + 1, b + 1)[None] for a, b in zip(ends, ends[1:], strict=False)
    ]
    savemat(
        folder / 'setid.mat', dict(zip(('tstid', 'trnid', 'valid'), numbers, strict=True))
    )
    savemat(folder / 'imagelabels.mat', {'labels': np.array([all_labels]) + 1})


def dog_set(folder: Path, labels: dict[str, list[int]]) -> None:
    """Write Dogs in the authors' layout: names without extension, labels from 1."""
    for split, members in labels.items():
        names = [f'n{k:03d}-Dog of_{k}/n{k}_{split}{i}' for i, k in enumerate(members)]
        for name, label in zip(names, members, strict=True):
            write_image(folder / 'Images' / f'{name}.jpg', label)
        content = {
            'annotation_list': column(names),
            'file_list': column([f'{name}.jpg' for name in names]),
            'labels': np.array(members, np.uint8)[:, None] + 1,
        }
        savemat(folder / f'{split}_list.mat', content)


def car_set(folder: Path, layout: str, labels: dict[str, list[int]]) -> None:
    """Write Cars: layout 'one folder', 'two folders', 'doubled' or 'doubled kit'."""
    rows = []
    for split, members in labels.items():
        names = [f'{number:05d}.jpg' for number in range(1, len(members) + 1)]
        if layout == 'one folder':
            names = [f'car_ims/{split}{name}' for name in names]
            images = folder
        else:
            images = folder / f'cars_{split}'
            images = images / images.name if layout.startswith('doubled') else images
        for name, label in zip(names, members, strict=True):
            write_image(images / name, label)
        rows.append((split, names, members))
    if layout == 'one folder':
        values = [
            (name, label + 1, int(split == 'test'))
            for split, names, members in rows
            for name, label in zip(names, members, strict=True)
        ]
        save_struct(
            folder / 'cars_annos.mat', ['relative_im_path', 'class', 'test'], values
        )
        return
    kit = folder / ('car_devkit/devkit' if layout == 'doubled kit' else 'devkit')
    kit.mkdir(parents=True)
    for split, names, members in rows:
        values = [(n, k + 1) for n, k in zip(names, members, strict=True)]
        if split == 'train':
            save_struct(kit / 'cars_train_annos.mat', ['fname', 'class'], values)
        else:
            save_struct(kit / 'cars_test_annos.mat', ['fname'], [v[:1] for v in values])
            labelled = folder / 'cars_test_annos_withlabels.mat'
            save_struct(labelled, ['fname', 'class'], values)


def column(texts: list[str]) -> np.ndarray:
    cells = np.empty((len(texts), 1), object)
    cells[:, 0] = texts
    return cells


def save_struct(file: Path, fields: list[str], rows: list[tuple]) -> None:
    struct = np.empty((1, len(rows)), [(field, object) for field in fields])
    for i, row in enumerate(rows):
        struct[0, i] = row
    savemat(file, {'annotations': struct})


def image_path(name: str, split: str, number: int, label: int) -> str:
    """A path as few-shot lists have it."""
    if name == 'cars':
        return f'cars_{"test" if split == "test" else "train"}/{split}{number:05d}.jpg'
    if name == 'food101':
        return f'food_{label}/{split}{number}.jpg'
    return f'{split} {number}.jpg' if name == 'pets' else f'{split}{number}.jpg'


def noah_set(
    folder: Path, name: str, labels: dict[str, list[int]], images: str = 'images'
) -> None:
    """Write a few-shot set with NOAH's lists for two shots, seed 1."""
    annotations = folder / 'annotations'
    annotations.mkdir(parents=True, exist_ok=True)
    files = {
        'train': 'train_meta.list.num_shot_2.seed_1',
        'val': 'val_meta.list',
        'test': 'test_meta.list',
    }
    for split, members in labels.items():
        lines = []
        for number, label in enumerate(members):
            path = image_path(name, split, number, label)
            write_image(folder / images / path, label)
            lines.append(f'{path} {label}\n')
        (annotations / files[split]).write_text(''.join(lines))


def coop_set(
    folder: Path, name: str, labels: dict[str, list[int]], images: str = 'images'
) -> dict[str, list[tuple[str, int]]]:
    """Write a few-shot set with CoOp's files; returns paths and labels."""
    rows = {}
    for split, members in labels.items():
        rows[split] = []
        for number, label in enumerate(members):
            path = image_path(
                name, f'coop-{split}'.replace('coop-test', 'test'), *(number, label)
            )
            write_image(folder / images / path, label)
            rows[split].append((path, label))
    if name == 'aircraft':
        # Not in alphabetical order: the order of the file counts.
        num_classes = max(max(members) for members in labels.values()) + 1
        variants = [f'Model {1000 - label}' for label in range(num_classes)]
        (folder / 'variants.txt').write_text('\n'.join(variants) + '\n')
        for split, pairs in rows.items():
            lines = [f'{path[:-4]} {variants[label]}\n' for path, label in pairs]
            (folder / f'images_variant_{split}.txt').write_text(''.join(lines))
    else:
        named = {s: [[p, k, f'class {k}'] for p, k in pairs] for s, pairs in rows.items()}
        file = folder / f'split_zhou_{COOP_NAMES[name]}.json'
        file.write_text(json.dumps(named))
    return rows

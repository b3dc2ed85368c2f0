"""Whole data sets of hard links to one small image: real counts in little time."""

from __future__ import annotations

import json
import os
from pathlib import Path

from PIL import Image

KITTI_COUNTS = {'train800': 800, 'val200': 200, 'train800val200': 1000, 'test': 711}


def one_jpeg(path: Path) -> Path:
    """Write the image that all others are links to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((16, 16), 60).convert('RGB').save(path, 'JPEG')
    return path


def link(source: Path, paths: list[Path]) -> None:
    for folder in {path.parent for path in paths}:
        folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        os.link(source, path)


def kitti(parent: Path, source: Path, folder: str = 'kitti') -> Path:
    """Write VTAB-1k's kitti, 2,711 images of 4 classes."""
    task = parent / folder
    for split, count in KITTI_COUNTS.items():
        names = [f'images/{split}/{i:06d}.jpg' for i in range(count)]
        link(source, [task / name for name in names])
        lines = [f'{name} {i % 4}\n' for i, name in enumerate(names)]
        (task / f'{split}.txt').write_text(''.join(lines))
    return task


def flowers(parent: Path, source: Path) -> Path:
    """Write FGVC's OxfordFlowers with VPT's lists, 8,189 images of 102 classes."""
    start = 0
    for split, count in {'train': 1020, 'val': 1020, 'test': 6149}.items():
        names = [f'jpg/image_{start + i:05d}.jpg' for i in range(count)]
        link(source, [parent / 'OxfordFlowers' / name for name in names])
        ids = {name: i % 102 + 1 for i, name in enumerate(names)}
        file = parent / 'OxfordFlowers' / f'{split}.json'
        file.write_text(json.dumps(ids))
        start += count
    return parent / 'OxfordFlowers'


def fewshot_pets(parent: Path, source: Path) -> Path:
    """Write few-shot pets with NOAH's lists; the draws share their images."""
    folder = parent / 'oxford_pets'
    counts = {'val': 736, 'test': 3669, 'train': 16 * 37}
    names = {s: [f'{s}_{i}.jpg' for i in range(n)] for s, n in counts.items()}
    link(source, [folder / 'images' / name for n in names.values() for name in n])
    (folder / 'annotations').mkdir()
    lists = {f'{split}_meta.list': names[split] for split in ('val', 'test')}
    for shots in (1, 2, 4, 8, 16):
        for seed in (0, 1, 2):
            draw = f'train_meta.list.num_shot_{shots}.seed_{seed}'
            lists[draw] = names['train'][: shots * 37]
    for name, members in lists.items():
        lines = [f'{member} {i % 37}\n' for i, member in enumerate(members)]
        (folder / 'annotations' / name).write_text(''.join(lines))
    return folder

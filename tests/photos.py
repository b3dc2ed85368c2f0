"""Pictures that differ in every pixel, in place of the plain ones of small trees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_photo(path: Path, seed: int, width: int = 40, height: int = 30) -> None:
    """Write a JPEG file of smooth random colours."""
    rng = np.random.RandomState(seed)
    coarse = Image.fromarray(rng.randint(0, 256, (5, 6, 3), np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(path, 'JPEG')


def make_photos(root: Path, sizes: bool = True) -> None:
    """Replace every JPEG file below a folder, by pictures of several sizes."""
    for seed, path in enumerate(sorted(root.rglob('*.jpg'))):
        extra = 3 * (seed % 4) if sizes else 0
        write_photo(path, seed, 40 + extra, 30 + 2 * extra)


def class_folders(root: Path, count: int = 6) -> Path:
    """A folder of two classes."""
    for number in range(count):
        kind = ('cat', 'dog')[number % 2]
        write_photo(root / kind / f'{number}.jpg', number, 40 + number, 30)
    return root

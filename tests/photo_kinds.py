"""Photos of every kind that people have, in folders of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

KINDS = (
    'jpg',
    'png',
    'webp',
    'bmp',
    'gif',
    'palette.png',
    'grey.png',
    'alpha.png',
    'deep.png',
    'turned.jpg',
)
CLASSES = ('blue box', 'green tri angle', 'red ball')


def write_kind(picture: Image.Image, path: Path) -> None:
    """Write a picture as its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.name.partition('.')[2]
    if kind == 'palette.png':
        picture = picture.convert('P')
    elif kind == 'grey.png':
        picture = picture.convert('L')
    elif kind == 'alpha.png':
        picture = picture.convert('RGBA')
    elif kind == 'deep.png':
        picture = Image.fromarray(
            np.asarray(picture.convert('L')).astype(np.uint16) * 257
        )
    exif = Image.Exif()
    if kind == 'turned.jpg':
        exif[0x112] = 6
    picture.save(path, exif=exif)


def draw(kind: str, rng: np.random.RandomState) -> Image.Image:
    """A dark shape on a light ground, of a random size."""
    width, height = rng.randint(60, 160, 2).tolist()
    picture = Image.new('RGB', (width, height), tuple(rng.randint(100, 256, 3).tolist()))
    radius = int(min(width, height) * rng.uniform(0.25, 0.4))
    x, y = width // 2, height // 2
    color = tuple(rng.randint(0, 100, 3).tolist())
    box = (x - radius, y - radius, x + radius, y + radius)
    canvas = ImageDraw.Draw(picture)
    if kind == 'red ball':
        canvas.ellipse(box, color)
    elif kind == 'blue box':
        canvas.rectangle(box, color)
    else:
        canvas.polygon([(x, box[1]), (box[0], box[3]), (box[2], box[3])], color)
    return picture


def make_tree(root: Path, count: int = 20, classes: tuple[str, ...] = CLASSES) -> Path:
    """A folder of ``count`` photos of mixed kinds for each class."""
    rng = np.random.RandomState(0)
    for kind in classes:
        for number in range(count):
            name = f'photo {number}.{KINDS[number % len(KINDS)]}'
            write_kind(draw(kind, rng), root / kind / name)
    return root

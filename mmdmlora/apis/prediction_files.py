"""The files of a prediction: which images are meant, and what is written of them."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import TextIO

from PIL import Image, ImageDraw, ImageFont

from mmdmlora.datasets.images import LoadImageFromFile
from mmdmlora.datasets.photos import find_images
from mmdmlora.io import expand_home

from .checks import check_writable
from .predictor import Scores

WIDTH = 480
FONT_SIZE = 18
MARGIN = 8
# Formats that can be written as they are; a picture of another one becomes a PNG file.
KEPT_ENDINGS = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')


def expand_images(names: Sequence[str]) -> list[str]:
    """The images that some names mean, in their order, each once.

    Args:
        names (Sequence[str]): Images, folders, in which all images are meant, and
            patterns such as ``'photos/**/*.jpg'``.

    Returns:
        list[str]: Paths. A name that means nothing stays, as a path that is missing.

    Raises:
        ValueError: If a folder has no image.
    """
    images = []
    for name in map(expand_home, names):
        found = [name] if os.path.exists(name) else sorted(glob(name, recursive=True))
        for path in found or [name]:
            inside = find_images(path)[0] if os.path.isdir(path) else [path]
            if not inside:
                raise ValueError(
                    f'the folder {path!r} has no images: name images, or a folder with '
                    'some.'
                )
            images += inside
    return list(dict.fromkeys(images))


class PredictionTable:
    """A CSV file with a row for each image, written as they come.

    Args:
        stream (TextIO): Where to write.
        topk (int): How many classes a row has.
    """

    def __init__(self, stream: TextIO, topk: int) -> None:
        self._stream = stream
        self._topk = topk
        self._writer = csv.writer(stream, lineterminator='\n')
        ranks = range(1, topk + 1)
        names = [f'{name} {rank}' for rank in ranks for name in ('class', 'score')]
        self._write(['image', *names, 'error'])

    def add(self, image: str, scores: Scores) -> None:
        """Add the classes of an image."""
        cells = [cell for name, score in scores for cell in (name, f'{score:.6f}')]
        self._write([image, *cells, *[''] * (2 * (self._topk - len(scores)) + 1)])

    def add_fault(self, image: str, fault: str) -> None:
        """Add an image that can't be read."""
        self._write([image, *[''] * (2 * self._topk), fault])

    def _write(self, row: list[str]) -> None:
        self._writer.writerow(row)
        self._stream.flush()


class PredictionPictures:
    """Copies of images with their classes written below, in a folder.

    They are at most 480 pixels wide, and lie as the images do below the folder that all
    of them share.

    Args:
        folder (str | Path): Where to write.
        images (Sequence[str]): All images.

    Raises:
        ValueError: If the folder can't be written, or a picture would replace one of the
            images.
    """

    def __init__(self, folder: str | Path, images: Sequence[str]) -> None:
        remedy = 'Name another folder with --pictures.'
        self._folder = Path(expand_home(str(folder)))
        check_writable(self._folder, remedy)
        parents = [os.path.dirname(os.path.abspath(image)) for image in images]
        self._common = os.path.commonpath(parents)
        self._font = ImageFont.load_default(FONT_SIZE)
        sources = {os.path.realpath(image) for image in images}
        for image in images:
            if os.path.realpath(self._target(image)) in sources:
                raise ValueError(
                    f'{str(self._target(image))!r} is one of the images, and would be '
                    f'replaced. {remedy}'
                )

    def add(self, image: str, scores: Scores) -> None:
        """Write the copy of an image.

        Raises:
            OSError: If it can't be written.
        """
        pixels, _ = LoadImageFromFile().load(image)
        if pixels is None:
            return
        picture = Image.fromarray(pixels[..., ::-1])
        picture.thumbnail((WIDTH, WIDTH))
        lines = [f'{100 * score:.1f} %  {name}' for name, score in scores]
        height = len(lines) * (FONT_SIZE + MARGIN) + MARGIN
        size = max(picture.width, WIDTH), picture.height + height
        page = Image.new('RGB', size, 'white')
        page.paste(picture, ((page.width - picture.width) // 2, 0))
        draw = ImageDraw.Draw(page)
        for number, line in enumerate(lines):
            top = picture.height + MARGIN + number * (FONT_SIZE + MARGIN)
            draw.text((MARGIN, top), line, fill='black', font=self._font)
        target = self._target(image)
        target.parent.mkdir(parents=True, exist_ok=True)
        page.save(target)

    def _target(self, image: str) -> Path:
        relative = os.path.relpath(os.path.abspath(image), self._common)
        path = self._folder / relative
        return path if path.suffix.lower() in KEPT_ENDINGS else Path(f'{path}.png')

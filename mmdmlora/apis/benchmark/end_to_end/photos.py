"""JPEG files as a camera would give them: large and noisy, in one folder a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mmdmlora.datasets.drawn.generated_task import GeneratedTask

TASK = 'dsprites-loc'
NOISE = 6.0  # standard deviation, in grey levels
QUALITY = 90


def write_photos(folder: Path, num_train: int, side: int = 500) -> int:
    """Write a task of :class:`~mmdmlora.datasets.GeneratedTask`, enlarged.

    Args:
        folder: Gets ``train``, ``val`` and ``test``, each with a folder for every class.
        num_train: Number of images in ``train``, at most 1,000. ``val`` gets 200 and
            ``test`` 500 others.
        side: Height and width in pixels.

    Returns:
        int: Number of classes.

    Raises:
        ValueError: If there aren't so many images.
    """
    parts = dict(
        train=('train800val200', range(num_train)),
        val=('test', range(200)),
        test=('test', range(200, 700)),
    )
    sources = {
        split: GeneratedTask(TASK, split=split) for split in ('train800val200', 'test')
    }
    available = len(sources['train800val200'])
    if not 1 <= num_train <= available:
        raise ValueError(f'images must be from 1 to {available}, got {num_train}.')
    classes = sources['test'].metainfo['classes']
    random = np.random.default_rng(0)
    for part, (split, numbers) in parts.items():
        for number in numbers:
            sample = sources[split].get_data_info(number)
            target = folder / part / f'{sample["gt_label"]:02d}'
            target.mkdir(parents=True, exist_ok=True)
            _write_photo(sample['img'], target / f'{number:04d}.jpg', side, random)
    return len(classes)


def _write_photo(
    image: np.ndarray, file: Path, side: int, random: np.random.Generator
) -> None:
    large = Image.fromarray(image[..., ::-1]).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    noise = random.normal(0, NOISE, (side, side, 3))
    noisy = np.clip(np.asarray(large) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(file, quality=QUALITY)

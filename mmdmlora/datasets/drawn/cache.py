"""Keeping drawn images in files."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from ...io import atomic_write


def read_cache(
    file: Path, num_images: int, num_classes: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """The images and labels in a file; None if it's missing or damaged."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            images, labels = arrays['images'], arrays['labels']
    except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError):
        return None
    except (zipfile.BadZipFile, zlib.error):
        return None
    is_whole = (
        images.shape == (num_images, 64, 64, 3)
        and images.dtype == np.uint8
        and labels.shape == (num_images,)
        and labels.dtype.kind == 'i'
        and labels.min() >= 0
        and labels.max() < num_classes
    )
    return (images, labels) if is_whole else None


def write_cache(file: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write a file in one step: nobody finds half of it, whoever writes beside us."""
    with atomic_write(file) as stream:
        np.savez_compressed(stream, images=images, labels=labels)

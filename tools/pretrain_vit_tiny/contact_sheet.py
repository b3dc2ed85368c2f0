"""A page with samples of the drawn pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawn_pictures import CLASSES, LETTERS, SIZE, draw_batch
from matplotlib.figure import Figure


def save_contact_sheet(path: str | Path, seed: int = 0) -> None:
    """Draw a page with six samples of each class, under the class's name."""
    columns, samples = 4, 6
    images, _ = draw_batch(range(samples * len(CLASSES)), seed)
    images = images.reshape(samples, len(CLASSES), SIZE, SIZE, 3)
    strips = np.pad(images, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)], constant_values=255)
    figure = Figure(figsize=(10, 5.8), layout='constrained')
    axes = figure.subplots(len(CLASSES) // columns, columns)
    for axis, name, strip in zip(
        axes.T.flat, CLASSES, strips.swapaxes(0, 1), strict=True
    ):
        axis.imshow(np.concatenate(list(strip), axis=1))
        axis.set_ylabel(
            ' '.join(name) if name in LETTERS else name,
            rotation=0,
            ha='right',
            va='center',
        )
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)

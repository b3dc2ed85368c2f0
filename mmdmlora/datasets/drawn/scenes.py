"""What the drawn scenes of coloured shapes share.

They ask what CLEVR's two tasks in VTAB ask, of pictures that take seconds to draw: how
many objects there are (:mod:`.count_scenes`) and how near the nearest one is
(:mod:`.distance_scenes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

SIZE = 64
SHAPES = ('disc', 'square', 'triangle')
COLOURS = np.array(
    [
        (205, 40, 40),
        (50, 80, 215),
        (25, 135, 50),
        (130, 40, 185),
        (25, 165, 190),
        (225, 190, 30),
        (235, 125, 20),
    ],
    dtype=float,
)

Scene = tuple[np.ndarray, int]
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE] + 0.5


def draw_scenes(
    draw: Callable[[int, int], Scene], numbers: Iterable[int], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw numbered scenes.

    Args:
        draw (Callable): Draws the scene of a number and a seed.
        numbers (Iterable[int]): The numbers of the scenes.
        seed (int): The seed.

    Returns:
        tuple: RGB images of shape (N, 64, 64, 3) and type uint8, and labels (N,).
    """
    images, labels = zip(*(draw(number, seed) for number in numbers), strict=True)
    return np.stack(images), np.array(labels)


def paint_shape(
    image: np.ndarray,
    shape: str,
    centre: tuple[float, float],
    radius: float,
    colour: np.ndarray,
    angle: float = 0.0,
) -> None:
    """Paint a shape whose corners lie on a circle, lit from the upper left."""
    window = tuple(
        slice(max(0, int(middle - radius) - 1), int(middle + radius) + 2)
        for middle in (centre[1], centre[0])
    )
    dx, dy = COLUMNS[window] - centre[0], ROWS[window] - centre[1]
    u = np.cos(angle) * dx + np.sin(angle) * dy
    v = np.cos(angle) * dy - np.sin(angle) * dx
    if shape == 'disc':
        outside = np.hypot(u, v) - radius
    elif shape == 'square':
        outside = np.maximum(np.abs(u), np.abs(v)) - radius / np.sqrt(2)
    else:
        outside = np.maximum(v, np.sqrt(0.75) * np.abs(u) - v / 2) - radius / 2
    cover = np.clip(0.5 - outside, 0, 1)[..., None]
    light = np.clip(1 - 0.2 * (dx + dy) / radius, 0.75, 1.25)[..., None]
    image[window] += cover * (light * colour - image[window])


def to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)

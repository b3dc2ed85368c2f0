"""Scenes of shapes to be counted."""

from __future__ import annotations

import numpy as np

from .scenes import COLOURS, COLUMNS, ROWS, SHAPES, SIZE, Scene, paint_shape, to_uint8

# Keeps the random numbers apart from those of the other scenes.
COUNT_STREAM = 0
FEWEST, MOST = 3, 10
GAP = 2.5


def count_scene(number: int, seed: int) -> Scene:
    """Draw 3 to 10 coloured shapes on grey; the label is their number less 3.

    The shapes keep 2.5 pixels between the circles around them. Their circles' radii are
    drawn from 4 pixels to a limit that is drawn for each scene, from 4.5 to 7.5, so that
    the coloured area says little about the number.

    Args:
        number (int): The number of the scene; its label is ``number % 8``.
        seed (int): The seed.

    Returns:
        tuple: The RGB image, of shape (64, 64, 3) and type uint8, and the label.
    """
    rng = np.random.RandomState((seed, COUNT_STREAM, number))
    label = number % (MOST - FEWEST + 1)
    slope = rng.uniform(-0.4, 0.4, 2)
    grey = rng.uniform(160, 210) + slope[0] * (COLUMNS - 32) + slope[1] * (ROWS - 32)
    image = np.stack([grey] * 3, axis=-1)
    for x, y, radius in _places(label + FEWEST, rng):
        shape = SHAPES[rng.randint(len(SHAPES))]
        colour = COLOURS[rng.randint(len(COLOURS))]
        paint_shape(image, shape, (x, y), radius, colour, rng.uniform(0, 2 * np.pi))
    return to_uint8(image), label


def _places(count: int, rng: np.random.RandomState) -> np.ndarray:
    """Circles (x, y, radius) that keep their distance, of shape (count, 3)."""
    while True:
        limit = rng.uniform(4.5, 7.5)
        circles = np.empty((0, 3))
        # Large ones first: a small one still finds a place between them.
        for radius in sorted(rng.uniform(4, limit, count), reverse=True):
            margin = radius + 1
            tries = rng.uniform(margin, SIZE - margin, (100, 2))
            gaps = np.hypot(*(tries[:, None] - circles[None, :, :2]).T) - radius
            free = np.all(circles[:, 2] + GAP <= gaps.T, axis=1)
            if not free.any():
                break
            circles = np.vstack([circles, [*tries[free.argmax()], radius]])
        else:
            return circles

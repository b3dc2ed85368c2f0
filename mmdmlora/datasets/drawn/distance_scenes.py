"""Scenes of objects on a plane, the nearest of which is to be judged by its distance."""

from __future__ import annotations

import numpy as np

from .scenes import COLOURS, COLUMNS, ROWS, SHAPES, SIZE, Scene, paint_shape, to_uint8

# Keeps the random numbers apart from those of the other scenes.
DIST_STREAM = 1
FOCAL = 64.0
HORIZON = 16.0
CAMERA_HEIGHT = 132 / FOCAL
FARTHEST = 9.0
OBJECT_SIZES = (0.7, 1.1)
DISTANCE_EDGES = (3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0)


def dist_scene(number: int, seed: int) -> Scene:
    """Draw 3 to 6 objects on a plane; the label is the nearest one's distance.

    A camera looks along the ground, 2.0625 units above it, with a focal length of 64
    pixels and its horizon at row 16. What stands on the ground at the distance ``z``
    meets it at row ``16 + 132 / z``, and a length ``s`` there measures ``64 s / z``
    pixels. The objects are upright discs, squares and triangles, 0.7 or 1.1 units across
    and each with a shadow at its foot, so that size alone does not give the distance.
    The nearest one hides the others and is never hidden. Its distance is uniform in its
    class, the others' are uniform from there to 9 units. The six classes of ``z`` are

        [3, 3.5), [3.5, 4), [4, 4.5), [4.5, 5), [5, 5.5), [5.5, 6)

    Args:
        number (int): The number of the scene; its label is ``number % 6``.
        seed (int): The seed.

    Returns:
        tuple: The RGB image, of shape (64, 64, 3) and type uint8, and the label.
    """
    rng = np.random.RandomState((seed, DIST_STREAM, number))
    label = number % (len(DISTANCE_EDGES) - 1)
    nearest = rng.uniform(*DISTANCE_EDGES[label : label + 2])
    others = rng.uniform(nearest, FARTHEST, rng.randint(2, 6))
    image = _landscape(rng)
    for distance in sorted([nearest, *others], reverse=True):
        shape = SHAPES[rng.randint(len(SHAPES))]
        across = OBJECT_SIZES[rng.randint(len(OBJECT_SIZES))] * FOCAL / distance
        x = rng.uniform(across / 2 + 1, SIZE - across / 2 - 1)
        colour = COLOURS[rng.randint(len(COLOURS))]
        _paint_standing(image, shape, x, ground_row(distance), across, colour)
    return to_uint8(image), distance_bin(nearest)


def ground_row(distance: float) -> float:
    """The row of the picture in which the ground has a distance."""
    return HORIZON + FOCAL * CAMERA_HEIGHT / distance


def distance_bin(distance: float) -> int:
    """The class of a distance; a lower edge belongs to its class, an upper one doesn't.

    Raises:
        ValueError: If the distance is below 3 or not below 6.
    """
    if not DISTANCE_EDGES[0] <= distance < DISTANCE_EDGES[-1]:
        raise ValueError(
            f'the distance {distance} has no class: it has to be at least '
            f'{DISTANCE_EDGES[0]} and below {DISTANCE_EDGES[-1]}.'
        )
    return int(np.searchsorted(DISTANCE_EDGES, distance, side='right')) - 1


def _landscape(rng: np.random.RandomState) -> np.ndarray:
    """A grey plane below a light sky, of shape (64, 64, 3)."""
    depth = np.clip((ROWS - HORIZON) / (SIZE - HORIZON), 0, 1)
    ground = rng.uniform(110, 150) + rng.uniform(20, 50) * depth
    sky = rng.uniform(200, 235)
    return np.stack([np.where(ROWS < HORIZON, sky, ground)] * 3, axis=-1)


def _paint_standing(
    image: np.ndarray, shape: str, x: float, foot: float, across: float, colour
) -> None:
    """Paint an object whose lowest point is at the row ``foot``, and its shadow."""
    flat = np.hypot(COLUMNS - x, 4 * (ROWS - foot)) - 0.62 * across
    image *= 1 - 0.35 * np.clip(0.5 - flat / 4, 0, 1)[..., None]
    half = across / 2
    # (the circle's radius, the height of its centre above the foot)
    radius, rise = {
        'disc': (half, half),
        'square': (np.sqrt(2) * half, half),
        'triangle': (half / np.sqrt(0.75), half / np.sqrt(3)),
    }[shape]
    paint_shape(image, shape, (x, foot - rise), radius, colour)

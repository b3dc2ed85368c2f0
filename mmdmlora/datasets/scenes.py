"""Drawn scenes of coloured shapes, to count them or to tell how near the nearest is.

They ask what CLEVR's two tasks in VTAB ask, of pictures that take seconds to draw.
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
# A fixed number of each task keeps their streams of random numbers apart.
COUNT_STREAM, DIST_STREAM = 0, 1

FEWEST, MOST = 3, 10
GAP = 2.5

FOCAL = 64.0
HORIZON = 16.0
CAMERA_HEIGHT = 132 / FOCAL
FARTHEST = 9.0
OBJECT_SIZES = (0.7, 1.1)
DISTANCE_EDGES = (3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0)

Scene = tuple[np.ndarray, int]
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE] + 0.5


def draw_scenes(
    draw: Callable[[int, int], Scene], numbers: Iterable[int], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw numbered scenes.

    Args:
        draw (Callable): :func:`count_scene` or :func:`dist_scene`.
        numbers (Iterable[int]): The numbers of the scenes.
        seed (int): The seed.

    Returns:
        tuple: RGB images of shape (N, 64, 64, 3) and type uint8, and labels (N,).
    """
    images, labels = zip(*(draw(number, seed) for number in numbers), strict=True)
    return np.stack(images), np.array(labels)


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
        _paint_object(image, shape, (x, y), radius, colour, rng.uniform(0, 2 * np.pi))
    return _to_uint8(image), label


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
    return _to_uint8(image), distance_bin(nearest)


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
    _paint_object(image, shape, (x, foot - rise), radius, colour)


def _paint_object(
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


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)

"""The sprites of dSprites, drawn anew from their published generative factors."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

SIZE = 64
SHAPES = ('square', 'ellipse', 'heart')
NUM_VALUES = {'shape': 3, 'scale': 6, 'orientation': 40, 'x': 32, 'y': 32}
NUM_COMBINATIONS = 737_280
NUM_BINS = 16

SCALES = np.linspace(0.5, 1, 6)
ORIENTATIONS = np.linspace(0, 2 * np.pi, 40)
POSITIONS = np.linspace(16, 48, 32)

SQUARE_HALF_SIDE = 9.0
ELLIPSE_SEMI_AXES = (13.0, 6.5)
HEART_UNIT = 9.5


def render(shape: int, scale: int, orientation: int, x: int, y: int) -> np.ndarray:
    """Draw a sprite from the indices of its factors.

    Two of the shapes are those of a square and an ellipse. The heart is the curve

    .. math::
        (u^2 + v^2 - 1)^3 = u^2 v^3

    A pixel is white where its centre lies inside of the shape; nothing is smoothed.

    Args:
        shape (int): Square, ellipse or heart.
        scale (int): One of 6 scales, evenly from 0.5 to 1.
        orientation (int): One of 40 angles, evenly from 0 to 2 pi, both included.
        x (int): One of 32 columns of the centre, evenly from 16 to 48.
        y (int): One of 32 rows of the centre, in the same way.

    Returns:
        np.ndarray: The image, of shape (64, 64) and type uint8, 0 or 255.

    Note:
        The factors are the published ones. How large the shapes are in pixels, and where
        the 32 positions lie, is this project's choice: those who published the factors
        did not publish these.
    """
    columns = np.arange(SIZE) + 0.5 - POSITIONS[x]
    rows = np.arange(SIZE)[:, None] + 0.5 - POSITIONS[y]
    cosine, sine = np.cos(ORIENTATIONS[orientation]), np.sin(ORIENTATIONS[orientation])
    u = (cosine * columns + sine * rows) / SCALES[scale]
    v = (cosine * rows - sine * columns) / SCALES[scale]
    if SHAPES[shape] == 'square':
        inside = np.maximum(np.abs(u), np.abs(v)) <= SQUARE_HALF_SIDE
    elif SHAPES[shape] == 'ellipse':
        semi_major, semi_minor = ELLIPSE_SEMI_AXES
        inside = (u / semi_major) ** 2 + (v / semi_minor) ** 2 <= 1
    else:
        u, v = u / HEART_UNIT, -v / HEART_UNIT
        inside = (u**2 + v**2 - 1) ** 3 <= u**2 * v**3
    return inside * np.uint8(255)


def bin_of(index: int, num_values: int) -> int:
    """The class of a factor's index: VTAB's ``floor(index / (num_values / 16))``."""
    return index * NUM_BINS // num_values


def draw_factors(numbers: Iterable[int], seed: int) -> np.ndarray:
    """The factors of numbered sprites, no combination twice.

    Returns:
        np.ndarray: The indices of shape, scale, orientation, x and y, of shape (N, 5).
    """
    order = np.random.RandomState(seed).permutation(NUM_COMBINATIONS)
    chosen = order[np.fromiter(numbers, int)]
    return np.stack(np.unravel_index(chosen, tuple(NUM_VALUES.values())), axis=-1)


def draw_sprites(
    numbers: Iterable[int], seed: int, factor: str
) -> tuple[np.ndarray, np.ndarray]:
    """Draw numbered sprites and label them by a factor.

    Args:
        numbers (Iterable[int]): The numbers of the sprites.
        seed (int): The seed.
        factor (str): 'x' for the task of location, 'orientation' for that of orientation.

    Returns:
        tuple: Images of shape (N, 64, 64, 3) and type uint8 with equal channels, and
        labels of shape (N,) from 0 to 15.
    """
    factors = draw_factors(numbers, seed)
    images = np.stack([render(*indices) for indices in factors])
    column = list(NUM_VALUES).index(factor)
    labels = bin_of(factors[:, column], NUM_VALUES[factor])
    return np.stack([images] * 3, axis=-1), labels

"""Small pictures drawn by a program: letters, shapes and textures, and no digits.

They pre-train the embedded backbone, so that nothing has to be downloaded. The letters
come from the fonts inside Pillow and matplotlib, the rest from a few lines of geometry.
What doesn't make a picture's class is drawn at random: place, size, slant, thickness,
warp, colours, sharpness, noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 32
CANVAS = 64

# Both cases are one class where they differ in size only. I, i, l, O and o are left out:
# in many fonts they are the digits one and zero.
UPPER = ('A', 'B', 'D', 'E', 'F', 'G', 'H', 'L', 'M', 'N', 'Q', 'R', 'T')
LOWER = ('a', 'b', 'd', 'e', 'f', 'g', 'h', 'm', 'n', 'q', 'r', 't')
EITHER = ('Cc', 'Jj', 'Kk', 'Pp', 'Ss', 'Uu', 'Vv', 'Ww', 'Xx', 'Yy', 'Zz')
LETTERS = (*UPPER, *LOWER, *EITHER)
CLOSED = ('disc', 'ring', 'square', 'triangle', 'star', 'cross', 'arrow', 'crescent')
OPEN = ('zigzag', 'spiral')
SHAPES = (*CLOSED, *OPEN)
TEXTURES = ('stripes', 'checks', 'grid', 'dots', 'noise', 'gradient')
CLASSES = (*LETTERS, *SHAPES, *TEXTURES)
GROUPS = {'letters': LETTERS, 'shapes': SHAPES, 'textures': TEXTURES}

SANS = ('DejaVuSans', 'DejaVuSans-Bold', 'DejaVuSans-Oblique', 'cmss10', 'Pillow')
SERIF = ('DejaVuSerif', 'DejaVuSerif-Italic', 'cmr10', 'cmmi10')
TIMES = ('STIXGeneral', 'STIXGeneralItalic', 'STIXGeneralBol')
MONO = ('DejaVuSansMono', 'cmtt10')
FONTS = (*SANS, *SERIF, *TIMES, *MONO)

GRID = np.stack(np.meshgrid(np.arange(CANVAS), np.arange(CANVAS)), axis=-1) + 0.5


def draw(index: int, seed: int = 0, level: float = 1.0) -> tuple[np.ndarray, int]:
    """Draw one picture. It depends on the three numbers alone.

    Args:
        index (int): The number of the picture, 0 or more. Its class is ``index %
            len(CLASSES)``, so that any run of ``len(CLASSES)`` pictures has them all.
        seed (int): The seed, 0 or more. Defaults to 0.
        level (float): How much is left to chance, from 0 (upright, sharp and white on
            black) to 1. A training may begin with easy pictures. Defaults to 1.

    Returns:
        tuple: The RGB picture, of shape (32, 32, 3) and type uint8 from 0 to 255, and
        its label, the position of its class in ``CLASSES``.

    Note:
        Other versions of Pillow, matplotlib, NumPy or OpenCV may draw a little
        differently.
    """
    rng = np.random.default_rng((seed, index))
    label = index % len(CLASSES)
    name = CLASSES[label]
    mask = _texture(name, rng) if name in TEXTURES else _figure(name, rng, level)
    return _paint(_blur(mask, rng, level), rng, level), label


def draw_batch(
    indices: Iterable[int], seed: int = 0, level: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw several pictures, each as :func:`draw` does.

    Returns:
        tuple: Pictures of shape (N, 32, 32, 3), uint8, and labels of shape (N,), int64.
    """
    pairs = [draw(index, seed, level) for index in indices]
    return np.stack([image for image, _ in pairs]), np.array(
        [label for _, label in pairs]
    )


def _figure(name: str, rng: np.random.Generator, level: float) -> np.ndarray:
    """Draw a letter or shape, warped, as a mask of shape (32, 32) from 0 to 1."""
    if name in LETTERS:
        font = FONTS[int(rng.random() * level * len(FONTS))]
        mask = _thicken(_glyph(name[rng.integers(len(name))], font), rng, level)
    else:
        mask = _shape(name, rng)
    # A turned cross would be the letter x.
    is_upright = name in LETTERS or name == 'cross'
    turn = rng.normal(0, 8 * level) if is_upright else rng.uniform(0, 360)
    mask = cv2.remap(mask, _warp(turn, rng, level), None, cv2.INTER_LINEAR)
    return cv2.resize(mask, (SIZE, SIZE), interpolation=cv2.INTER_AREA) / 255.0


@cache
def _glyph(letter: str, font: str) -> np.ndarray:
    """Render a letter as a mask (64, 64), its longer side 44 pixels, in the middle."""
    if font == 'Pillow':
        face = ImageFont.load_default(96)
    else:
        folder = Path(matplotlib.get_data_path(), 'fonts', 'ttf')
        face = ImageFont.truetype(str(folder / f'{font}.ttf'), 96)
    picture = Image.new('L', (256, 256))
    ImageDraw.Draw(picture).text((64, 64), letter, font=face, fill=255)
    picture = picture.crop(picture.getbbox())
    ratio = 44 / max(picture.size)
    width, height = (max(1, round(side * ratio)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BOX)
    canvas = Image.new('L', (CANVAS, CANVAS))
    canvas.paste(picture, ((CANVAS - width) // 2, (CANVAS - height) // 2))
    return np.array(canvas)


def _thicken(mask: np.ndarray, rng: np.random.Generator, level: float) -> np.ndarray:
    """Make strokes up to 6 of 64 pixels thicker, or 2 thinner if enough is left."""
    radius = round(rng.uniform(-1, 3) * level)
    side = 2 * abs(radius) + 1
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    if radius > 0:
        return cv2.dilate(mask, pen)
    thinner = cv2.erode(mask, pen)
    return thinner if thinner.sum() > 0.35 * mask.sum() else mask


def _shape(name: str, rng: np.random.Generator) -> np.ndarray:
    """Draw a geometric shape, filled or not, as a mask (64, 64) of type uint8."""
    mask = np.zeros((CANVAS, CANVAS), np.uint8)
    pen = int(rng.integers(3, 6 if name in OPEN else 12))
    if name in ('disc', 'ring', 'crescent'):
        cv2.circle(mask, (32, 32), 21, 255, pen if name == 'ring' else -1, cv2.LINE_AA)
        if name == 'crescent':
            offset = int(rng.integers(8, 14))
            cv2.circle(mask, (32 + offset, 32), 19, 0, -1, cv2.LINE_AA)
        return mask
    points = np.rint(32 + 22 * _outline(name, rng)).astype(np.int32)
    if name in OPEN or rng.random() < 0.4:
        return cv2.polylines(mask, [points], name in CLOSED, 255, pen, cv2.LINE_AA)
    return cv2.fillPoly(mask, [points], 255, cv2.LINE_AA)


def _outline(name: str, rng: np.random.Generator) -> np.ndarray:
    """Return the corners of a shape, of shape (N, 2), from -1 to 1."""
    if name == 'zigzag':
        count = int(rng.integers(6, 8))
        height = np.where(np.arange(count) % 2, -0.5, 0.5)
        return np.stack([np.linspace(-1, 1, count), height], axis=1)
    if name == 'spiral':
        radius = np.linspace(0.1, 1, 40)
        return _polar(radius, radius * rng.uniform(10, 13) * rng.choice([-1, 1]))
    if name == 'star':
        tips = int(rng.integers(5, 7))
        radius = np.where(np.arange(2 * tips) % 2, rng.uniform(0.35, 0.5), 1)
        return _polar(radius, np.arange(2 * tips) * np.pi / tips)
    if name == 'cross':
        arm = rng.uniform(0.2, 0.4)
        quarter = np.array([[1, arm], [arm, arm], [arm, 1]])
        turn = np.array([[0, 1], [-1, 0]])
        return np.concatenate(
            [quarter @ np.linalg.matrix_power(turn, n) for n in range(4)]
        )
    if name == 'arrow':
        shaft, neck = rng.uniform(0.12, 0.25), rng.uniform(-0.1, 0.3)
        half = np.array([[-1, shaft], [neck, shaft], [neck, 0.65], [1, 0]])
        return np.concatenate([half, half[-2::-1] * [1, -1]])
    corners = 4 if name == 'square' else 3
    return _polar(np.ones(corners), np.arange(corners) * 2 * np.pi / corners)


def _polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _warp(turn: float, rng: np.random.Generator, level: float) -> np.ndarray:
    """Return where each pixel comes from, (64, 64, 2): turn, shear, size, shift, waves.

    The turn is given in degrees, the rest is random.
    """
    cosine, sine = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    shear = np.array([[1, rng.normal(0, 0.15 * level)], [0, 1]])
    size = 1.2 + level * rng.uniform(-0.3, 0.2)
    stretch = np.diag(np.exp(rng.normal(0, 0.1 * level, 2)) / size)
    waves = rng.normal(0, rng.uniform(0, 2.5 * level), (4, 4, 2))
    waves = cv2.resize(waves, (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC)
    centred = GRID - CANVAS / 2 - rng.normal(0, 2.5 * level, 2)
    places = centred @ (rotation @ shear @ stretch).T + CANVAS / 2 + waves
    return places.astype(np.float32)


def _texture(name: str, rng: np.random.Generator) -> np.ndarray:
    """Draw a texture over the whole picture: values from 0 to 1, of shape (32, 32)."""
    if name == 'noise':
        side = int(rng.integers(8, SIZE + 1))
        return cv2.resize(rng.random((side, side)), (SIZE, SIZE))
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 12)
    x, y = np.moveaxis(GRID[:SIZE, :SIZE], -1, 0)
    along = x * np.cos(angle) + y * np.sin(angle) + rng.uniform(0, period)
    across = y * np.cos(angle) - x * np.sin(angle) + rng.uniform(0, period)
    if name == 'gradient':
        return (along - along.min()) / np.ptp(along)
    u, v = np.sin(2 * np.pi * along / period), np.sin(2 * np.pi * across / period)
    fields = {
        'stripes': u,
        'checks': u * v,
        'grid': np.maximum(u, v) - 0.7,
        'dots': u + v - 0.9,
    }
    return np.clip(0.5 + rng.uniform(1, 4) * fields[name], 0, 1)


def _blur(mask: np.ndarray, rng: np.random.Generator, level: float) -> np.ndarray:
    """Blur three masks in ten; take a third through a lower resolution."""
    chance = rng.random()
    if chance < 0.3 * level:
        return cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.4, 1.3))
    if chance < 0.65 * level:
        side = int(rng.integers(10, 21))
        small = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    return mask


def _paint(mask: np.ndarray, rng: np.random.Generator, level: float) -> np.ndarray:
    """Mix two colours by a mask (32, 32) into a picture (32, 32, 3), and add noise."""
    channels = 1 if rng.random() < 0.4 else 3
    colours = rng.uniform(0, 255, (2, channels)) * np.ones(3)
    colours = level * colours + (1 - level) * np.array([[0.0], [255.0]])
    gap = colours[1].mean() - colours[0].mean()
    if abs(gap) < 80:
        dark, light = (0, 1) if gap > 0 else (1, 0)
        colours[dark] *= 0.4
        colours[light] = 255 - 0.4 * (255 - colours[light])
    image = colours[0] + mask[..., None] * (colours[1] - colours[0])
    if rng.random() < 0.3 * level:
        slope = rng.normal(0, 1, 2)
        image = image + ((GRID[:SIZE, :SIZE] - SIZE / 2) @ slope)[..., None]
    noise = rng.standard_normal((SIZE, SIZE, channels), dtype=np.float32)
    image = image + level * max(0.0, rng.normal(0, 8)) * noise
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)

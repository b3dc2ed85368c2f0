"""Counting scenes: their labels are counted again in the pixels."""

import cv2
import numpy as np

from mmdmlora.datasets.drawn import count_scenes
from mmdmlora.datasets.drawn.scenes import draw_scenes


def colourful(image):
    """The pixels that are more colour than grey."""
    return np.ptp(image.astype(int), axis=-1) > 40


def test_count_is_the_number_of_patches_of_colour():
    images, labels = draw_scenes(count_scenes.count_scene, range(800), 0)
    for image, label in zip(images, labels, strict=True):
        mask = colourful(image).astype(np.uint8)
        assert cv2.connectedComponents(mask, connectivity=8)[0] - 1 == label + 3


def test_area_of_colour_tells_the_count_badly():
    images, labels = draw_scenes(count_scenes.count_scene, range(800), 0)
    areas = colourful(images).sum(axis=(1, 2))
    assert np.corrcoef(areas, labels)[0, 1] < 0.9

"""Distance scenes: their labels are measured again in the pixels."""

import numpy as np
import pytest

from mmdmlora.datasets.drawn import distance_scenes as scenes
from mmdmlora.datasets.drawn.scenes import draw_scenes


def colourful(image):
    """The pixels that are more colour than grey."""
    return np.ptp(image.astype(int), axis=-1) > 40


def test_distance_is_the_lowest_row_of_colour():
    images, labels = draw_scenes(scenes.dist_scene, range(900), 0)
    for image, label in zip(images, labels, strict=True):
        lowest = np.nonzero(colourful(image).any(axis=1))[0].max() + 1
        near, far = scenes.DISTANCE_EDGES[label : label + 2]
        assert scenes.ground_row(far) - 1.5 < lowest < scenes.ground_row(near) + 1.5


def test_size_alone_does_not_give_the_distance():
    """The nearest object's height overlaps between classes that are far apart."""
    ratios = np.divide.outer(scenes.OBJECT_SIZES, [3.25, 5.25])
    assert ratios[0, 0] < 1.03 * ratios[1, 1]


def test_edges_of_the_distances():
    assert scenes.ground_row(3) == 60 and scenes.ground_row(6) == 38
    for label, edge in enumerate(scenes.DISTANCE_EDGES[:-1]):
        assert scenes.distance_bin(edge) == label
        assert scenes.distance_bin(np.nextafter(edge + 0.5, 0)) == label
    for outside in (2.999, 6.0, 9.0):
        with pytest.raises(ValueError, match='has no class'):
            scenes.distance_bin(outside)


def test_near_objects_are_painted_over_far_ones(monkeypatch):
    feet = []
    monkeypatch.setattr(scenes, '_paint_standing', lambda *args: feet.append(args[3]))
    for number in range(60):
        feet.clear()
        _, label = scenes.dist_scene(number, 0)
        assert 3 <= len(feet) <= 6 and feet == sorted(feet)
        near, far = scenes.DISTANCE_EDGES[label : label + 2]
        assert scenes.ground_row(far) < feet[-1] <= scenes.ground_row(near)

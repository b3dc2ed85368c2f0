"""Short epochs: fewer batches, other images in each."""

import pytest
from mmengine.dataset import DefaultSampler

from mmdmlora.datasets import PartialEpochBatchSampler


def batches(images: int, share: float, drop_last: bool) -> list[list[int]]:
    sampler = DefaultSampler(range(images), shuffle=False)
    found = PartialEpochBatchSampler(sampler, 64, share, drop_last)
    assert len(found) == len([*found])
    return [*found]


@pytest.mark.parametrize(
    ('images', 'share', 'drop_last', 'count'),
    [
        (800, 0.25, True, 3),
        (800, 0.25, False, 3),
        (800, 1.0, True, 12),
        (800, 1.0, False, 13),
        (70, 0.25, False, 1),
        (64, 0.25, True, 1),
        (63, 0.25, False, 1),
        (63, 0.25, True, 0),
    ],
)
def test_the_number_of_batches(images, share, drop_last, count):
    assert len(batches(images, share, drop_last)) == count


def test_the_batches_are_the_first_of_the_epoch():
    assert batches(800, 0.25, True) == [
        [*range(begin, begin + 64)] for begin in (0, 64, 128)
    ]


def test_each_epoch_has_other_images():
    sampler = DefaultSampler(range(800), shuffle=True, seed=0)
    shortened = PartialEpochBatchSampler(sampler, 64, 0.25, drop_last=True)
    images = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        images.append({image for batch in shortened for image in batch})
    assert all(len(seen) == 192 for seen in images)
    assert images[0] != images[1]

"""Fractions of a training set, for studies of its size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def take_subset(samples: list[dict], fraction: float, seed: int = 0) -> list[dict]:
    """Draw a fraction of a data list, the same share of each class.

    A class keeps its share as far as whole images allow, and at least one image as long
    as there are as many images as classes. Fractions are nested: the images of 10 % are
    among those of 50 % of the same seed.

    Args:
        samples: The data list, a dict with ``gt_label`` per image.
        fraction: The share to keep, above 0 and at most 1; at least one image is kept.
        seed: The seed of the draw. Defaults to 0.

    Returns:
        The drawn samples, in the order of the list.

    Raises:
        ValueError: If the fraction or the seed is out of range.

    Source:
        Sec. 7 of the paper's supplement trains on 10 %, 50 % and 80 % of FGVC and doesn't
        say how they are drawn. Equal shares of the classes are this project's reading:
        they leave the frequencies of the classes as they are.
    """
    _check(fraction, seed)
    if fraction == 1:
        return samples
    count = max(1, round(fraction * len(samples)))
    order = balanced_order([sample['gt_label'] for sample in samples], seed)
    return [samples[i] for i in sorted(order[:count])]


def balanced_order(labels: Sequence[int], seed: int) -> list[int]:
    """Order images at random so that the first ones of any number fairly mix classes.

    One image of each class comes first. The k-th of a class's n images then stands where
    the share (k - 1/2) / n of all is reached.

    Args:
        labels: The label of each image.
        seed: The seed. The legacy generator of NumPy is drawn from, whose stream is
            frozen: a seed gives the same order with every version.

    Returns:
        The indices of the images.
    """
    labels = np.asarray(labels)
    shuffled = np.random.RandomState(seed).permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
        place[members[0]] = 0
    return shuffled[np.argsort(place[shuffled], kind='stable')].tolist()


def check_subset(fraction: float, seed: int, split: str) -> None:
    """Refuse a fraction out of range, or of a split that isn't for training.

    Raises:
        ValueError: With the value and the remedy.
    """
    _check(fraction, seed)
    if fraction != 1 and not str(split).startswith('train'):
        raise ValueError(
            f'subset={fraction} of the split {split!r}: only training splits may be cut, '
            'so that results stay comparable. Set subset in train_dataloader.dataset.'
        )


def _check(fraction: float, seed: int) -> None:
    is_number = isinstance(fraction, (int, float)) and not isinstance(fraction, bool)
    if not (is_number and 0 < fraction <= 1):
        raise ValueError(
            f'subset={fraction!r} is not a share above 0 and at most 1. Write 10 % as '
            '0.1.'
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(
            f'subset_seed={seed!r} is not an integer from 0 to 4294967295. Give another.'
        )

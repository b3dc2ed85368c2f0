"""Parts of a training set, for studies of its size."""

from __future__ import annotations

from collections import Counter, defaultdict
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
    _check_fraction(fraction)
    check_seed(seed)
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


def take_shots(samples: list[dict], num_shots: int, seed: int = 0) -> list[dict]:
    """Draw the same number of images of each class.

    Numbers are nested: the images of 2 shots are among those of 8 of the same seed.

    Args:
        samples: The data list, a dict with ``gt_label`` per image.
        num_shots: Images a class.
        seed: The seed of the draw. Defaults to 0.

    Returns:
        The drawn samples, in the order of the list.

    Raises:
        ValueError: If ``num_shots`` is no whole number above 0, a class has fewer images,
            or the seed is out of range.
    """
    _check_shots(num_shots)
    check_seed(seed)
    labels = [sample['gt_label'] for sample in samples]
    label, size = min(Counter(labels).items(), key=lambda item: item[1])
    if num_shots > size:
        raise ValueError(
            f'num_shots={num_shots}, but class {label} has only {size} images: use at '
            f'most num_shots={size}.'
        )
    places = defaultdict(list)
    for place in balanced_order(labels, seed):
        places[labels[place]].append(place)
    drawn = sorted(i for members in places.values() for i in members[:num_shots])
    return [samples[i] for i in drawn]


def take_part(
    samples: list[dict], subset: float, num_shots: int | None, seed: int
) -> list[dict]:
    """Draw what :func:`check_part` has allowed: a fraction, shots or everything."""
    if num_shots is None:
        return take_subset(samples, subset, seed)
    return take_shots(samples, num_shots, seed)


def name_part(subset: float, num_shots: int | None) -> str:
    """The line of ``repr`` that names what :func:`take_part` draws."""
    return f'Subset: \t{subset:.4g}' if num_shots is None else f'Shots: \t{num_shots}'


def check_part(subset: float, num_shots: int | None, split: str) -> None:
    """Refuse a fraction or shots out of range, both, or of a split not for training.

    Raises:
        ValueError: With the value and the remedy.
    """
    _check_fraction(subset)
    if num_shots is None:
        name, value, is_whole = 'subset', subset, subset == 1
    else:
        _check_shots(num_shots)
        name, value, is_whole = 'num_shots', num_shots, False
        if subset != 1:
            raise ValueError(
                f'subset={subset} and num_shots={num_shots} both choose the training '
                'images: give one of them.'
            )
    if not (is_whole or str(split).startswith('train')):
        raise ValueError(
            f'{name}={value} of the split {split!r}: only training splits may be cut, '
            f'so that results stay comparable. Set {name} in train_dataloader.dataset.'
        )


def check_seed(seed: int, name: str = 'subset_seed') -> None:
    """Refuse what NumPy takes for no seed, or for a random one.

    Raises:
        ValueError: With the value.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(
            f'{name} {seed!r} is not an integer from 0 to 4294967295. Give another.'
        )


def _check_fraction(fraction: float) -> None:
    is_number = isinstance(fraction, (int, float)) and not isinstance(fraction, bool)
    if not (is_number and 0 < fraction <= 1):
        raise ValueError(
            f'subset={fraction!r} is not a share above 0 and at most 1. Write 10 % as '
            '0.1.'
        )


def _check_shots(num_shots: int) -> None:
    if type(num_shots) is not int or num_shots < 1:
        raise ValueError(
            f'num_shots={num_shots!r} must be a whole number above 0: the training '
            'images of each class.'
        )

"""Handwritten digits that come with scikit-learn: real images without a download."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmdmlora._requirements import extra

from ..registry import DATASETS
from .image_cache import CachedDataset
from .subset import check_part, check_seed, name_part, take_part

DIGITS_SPLITS = ('train800', 'val200', 'train800val200', 'test')


@DATASETS.register_module()
class Digits(CachedDataset):
    """The `optical digits <https://doi.org/10.24432/C50P49>`_ of scikit-learn.

    1,797 scans of handwritten digits, 8 x 8 pixels in 17 grey levels, split in the way
    of VTAB-1k: 800 images in ``train800``, 200 in ``val200``, those 1,000 in
    ``train800val200`` and the other 797 in ``test``. The shares of the 10 classes are
    those of the whole set. There is no folder and no list: the images are a file of the
    scikit-learn package.

    A sample holds the image itself, ``img``, of shape (8, 8, 3) and type uint8 from 0
    to 255, so a pipeline starts without ``LoadImageFromFile``. Its three channels are
    equal: ``to_rgb`` of the data preprocessor makes no difference.

    Args:
        split (str): 'train800', 'val200', 'train800val200' or 'test'.
        pipeline (Sequence): The processing pipeline. Defaults to ().
        seed (int): The seed of the split, and of ``subset`` and ``num_shots``. Defaults
            to 0.
        subset (float): The share of a training split to use, drawn with ``seed``, see
            :func:`~mmdmlora.datasets.take_subset`. Defaults to 1.0.
        num_shots (int, optional): Images of each class of a training split to use
            instead, drawn with ``seed``, see
            :func:`~mmdmlora.datasets.subset.take_shots`. Defaults to None.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`, and
            ``cache`` and ``cache_gib`` of
            :class:`~mmdmlora.datasets.image_cache.CachedDataset`.

    Raises:
        ValueError: If the split is unknown or the seed no integer from 0, or if
            ``subset`` or ``num_shots`` is out of range, of another split than one for
            training, or both are given.

    License:
        CC BY 4.0 (E. Alpaydin and C. Kaynak, UCI Machine Learning Repository).
    """

    METAINFO = {'classes': tuple('0123456789')}

    def __init__(
        self,
        split: str,
        pipeline: Sequence = (),
        seed: int = 0,
        subset: float = 1.0,
        num_shots: int | None = None,
        **kwargs,
    ):
        if split not in DIGITS_SPLITS:
            raise ValueError(
                f'Digits has no split {split!r}. Known splits: '
                f'{", ".join(DIGITS_SPLITS)}.'
            )
        check_seed(seed, 'the seed')
        check_part(subset, num_shots, split)
        self.split = split
        self.seed = seed
        self.subset = subset
        self.num_shots = num_shots
        super().__init__(ann_file='', pipeline=pipeline, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Take the split's images out of the whole set."""
        with extra('digits'):
            from sklearn.datasets import load_digits
        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        samples = [
            {
                'img': np.stack([images[i]] * 3, axis=-1),
                'img_shape': (8, 8),
                'ori_shape': (8, 8),
                'gt_label': int(digits.target[i]),
            }
            for i in split_indices(digits.target, self.seed)[self.split]
        ]
        return take_part(samples, self.subset, self.num_shots, self.seed)

    def extra_repr(self) -> list[str]:
        """The lines of ``repr`` that this data set adds."""
        return [
            f'Split: \t{self.split} (seed {self.seed})',
            name_part(self.subset, self.num_shots),
        ]


def split_indices(labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Divide the set into disjoint splits with the same shares of classes.

    Only the legacy generator of NumPy is drawn from, whose stream is frozen: a seed
    gives the same split with every version.

    Args:
        labels: The labels of the whole set, of shape (1797,).
        seed: The seed.

    Returns:
        The sorted indices of each split's images.
    """
    generator = np.random.RandomState(seed)
    sizes = np.bincount(labels)
    num_train = _allot(800, sizes)
    num_val = _allot(200, sizes - num_train)
    train, val, test = [], [], []
    for label in range(len(sizes)):
        members = generator.permutation(np.flatnonzero(labels == label))
        train_end = num_train[label]
        val_end = train_end + num_val[label]
        train.append(members[:train_end])
        val.append(members[train_end:val_end])
        test.append(members[val_end:])
    return {
        'train800': np.sort(np.concatenate(train)),
        'val200': np.sort(np.concatenate(val)),
        'train800val200': np.sort(np.concatenate(train + val)),
        'test': np.sort(np.concatenate(test)),
    }


def _allot(total: int, sizes: np.ndarray) -> np.ndarray:
    """Divide ``total`` in proportion to ``sizes`` by the largest remainders."""
    shares, remainders = np.divmod(total * sizes, sizes.sum())
    largest = np.argsort(-remainders, kind='stable')[: total - shares.sum()]
    shares[largest] += 1
    return shares

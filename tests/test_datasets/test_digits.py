"""The digits of scikit-learn against scikit-learn itself."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import DATASETS as MMPRETRAIN_DATASETS
from sklearn.datasets import load_digits

from mmdmlora.datasets import Digits

SIZES = {'train800': 800, 'val200': 200, 'train800val200': 1000, 'test': 797}
PIPELINE = [
    {
        'type': 'Resize',
        'scale': (32, 32),
        'backend': 'pillow',
        'interpolation': 'bicubic',
    },
    {'type': 'PackInputs'},
]


@pytest.fixture(scope='module')
def originals():
    """The position of each of scikit-learn's images; no two are equal."""
    images = load_digits().images
    positions = {image.astype(np.uint8).tobytes(): i for i, image in enumerate(images)}
    assert len(positions) == 1797
    return positions


def positions_of(dataset, originals):
    """Where the samples are in scikit-learn's set, found by their pixels."""
    levels = [np.rint(s['img'][..., 0] / 255 * 16).astype(np.uint8) for s in dataset]
    return [originals[level.tobytes()] for level in levels]


def test_samples_are_the_images_and_labels_of_scikit_learn(originals):
    digits = load_digits()
    dataset = Digits('test')
    for sample, i in zip(dataset, positions_of(dataset, originals), strict=True):
        assert sample['gt_label'] == digits.target[i]
        assert sample['img'].dtype == np.uint8
        assert sample['img'].shape == (8, 8, 3)
        assert sample['img_shape'] == sample['ori_shape'] == (8, 8)
        error = sample['img'] - digits.images[i][..., None] * 255 / 16
        assert np.abs(error).max() <= 0.5
    assert max(sample['img'].max() for sample in dataset) == 255


def test_splits_are_disjoint_and_complete(originals):
    found = {split: positions_of(Digits(split), originals) for split in SIZES}
    assert {split: len(found[split]) for split in SIZES} == SIZES
    parts = [set(found[split]) for split in ('train800', 'val200', 'test')]
    assert set.union(*parts) == set(range(1797))
    assert sum(len(part) for part in parts) == 1797
    assert set(found['train800val200']) == parts[0] | parts[1]


@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('split', SIZES)
def test_classes_keep_their_shares(split, seed):
    shares = np.bincount(load_digits().target) / 1797
    counts = np.bincount(Digits(split, seed=seed).get_gt_labels(), minlength=10)
    slack = 1 if split in ('train800', 'val200') else 2
    assert np.abs(counts - SIZES[split] * shares).max() < slack


def test_the_split_of_a_seed_never_changes(originals):
    digests = []
    for split in SIZES:
        positions = positions_of(Digits(split), originals)
        text = ' '.join(str(i) for i in positions)
        digests.append(hashlib.sha256(text.encode()).hexdigest()[:12])
    assert digests == ['4d99926adf5f', 'dde4f5dd5ac7', 'd6e45074ce08', 'a1e56f93f389']


def test_another_seed_is_another_split(originals):
    first, again, other = (
        positions_of(Digits('val200', seed=seed), originals) for seed in (3, 3, 4)
    )
    assert first == again
    assert len(set(first) & set(other)) < 100


def test_pipeline_without_loading():
    dataset = Digits('train800', PIPELINE)
    packed = dataset[0]
    assert packed['inputs'].shape == (3, 32, 32)
    assert packed['inputs'].dtype == torch.uint8
    assert packed['data_samples'].gt_label.item() == Digits('train800')[0]['gt_label']
    assert packed['data_samples'].ori_shape == (8, 8)
    assert packed['data_samples'].img_shape == (32, 32)


def test_channel_order_makes_no_difference():
    batch = {'inputs': [Digits('val200', PIPELINE)[0]['inputs']]}
    as_is, swapped = (
        ClsDataPreprocessor([127.5] * 3, [127.5] * 3, to_rgb=to_rgb)(batch)['inputs']
        for to_rgb in (False, True)
    )
    assert torch.equal(as_is, swapped)


def test_base_dataset_options():
    dataset = MMPRETRAIN_DATASETS.build(
        {'type': 'mmdmlora.Digits', 'split': 'test', 'indices': 5, 'lazy_init': True}
    )
    assert dataset.metainfo['classes'] == tuple('0123456789')
    copy = pickle.loads(pickle.dumps(dataset))
    assert len(copy) == 5
    assert 'Split: \ttest (seed 0)' in repr(copy)


def test_unknown_split():
    with pytest.raises(ValueError, match="'train'.*train800, val200"):
        Digits('train')

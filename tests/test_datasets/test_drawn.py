"""The drawn pictures, and the backbone that was pre-trained on them."""

import unicodedata

import numpy as np
import pytest
import torch
from mmpretrain.models.backbones import VisionTransformer
from safetensors.torch import load_file

from mmdmlora.apis.pretrain import VIT_TINY, extract, load_backbone
from mmdmlora.datasets.drawn import CLASSES, FONTS, GROUPS, LETTERS, draw, draw_batch
from mmdmlora.io.schemes import WEIGHTS_DIR

WEIGHTS = WEIGHTS_DIR / 'vit-tiny_drawn.safetensors'


def test_a_picture_depends_on_its_numbers_alone():
    first, label = draw(7, seed=3)
    draw_batch(range(20), seed=5)
    again, label_again = draw(7, seed=3)
    assert np.array_equal(first, again)
    assert label == label_again


@pytest.mark.parametrize('index', range(len(CLASSES)), ids=CLASSES)
def test_pictures_differ_with_seed_and_index(index):
    picture, label = draw(index, seed=0)
    for other, other_label in (draw(index, seed=1), draw(index + len(CLASSES), seed=0)):
        assert other_label == label == index
        assert not np.array_equal(picture, other)


@pytest.mark.parametrize('level', [0.0, 0.5, 1.0])
def test_shapes_types_and_ranges(level):
    images, labels = draw_batch(range(3 * len(CLASSES)), level=level)
    assert images.shape == (3 * len(CLASSES), 32, 32, 3)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert (images.max(axis=(1, 2, 3)) - images.min(axis=(1, 2, 3)) > 30).all()


def test_classes_are_balanced():
    counts = np.bincount([draw(index)[1] for index in range(100, 100 + 520)])
    assert counts.tolist() == [10] * len(CLASSES)


def test_level_zero_is_white_on_black_and_sharp():
    images, _ = draw_batch(range(len(LETTERS)), level=0.0)
    assert (images[..., :1] == images).all()
    assert (images[:, 0] == 0).all()
    assert (images.max(axis=(1, 2, 3)) > 200).all()


def test_there_are_no_digits():
    for name in CLASSES:
        assert not any(unicodedata.numeric(character, None) for character in name)
    drawn = ''.join(LETTERS)
    assert drawn.isascii() and drawn.isalpha()
    assert len(set(drawn)) == len(drawn)
    assert not set(drawn) & set('IilOo')


def test_names():
    assert len(set(CLASSES)) == len(CLASSES)
    assert sum(len(names) for names in GROUPS.values()) == len(CLASSES)
    assert len(set(FONTS)) == len(FONTS)


def test_weights_fit_the_stock_class():
    state = load_file(WEIGHTS)
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert all(tensor.isfinite().all() for tensor in state.values())
    backbone = VisionTransformer(**VIT_TINY)
    state = {key: tensor.float() for key, tensor in state.items()}
    backbone.load_state_dict(state, strict=True)
    backbone.eval()
    with torch.no_grad():
        assert backbone(torch.zeros(2, 3, 32, 32))[0].shape == (2, 96)


def test_weights_are_small():
    assert WEIGHTS.stat().st_size < 4 * 2**20


def test_features_tell_letters_apart():
    """The nearest mean of ten pictures names most letters, where chance is 1 in 36."""
    images, labels = draw_batch(range(20 * len(CLASSES)), seed=11)
    features = extract(load_backbone(WEIGHTS), images)
    assert features.isfinite().all()
    features = features.view(20, len(CLASSES), -1)[:, : len(LETTERS)]
    means = features[:10].mean(0)
    nearest = torch.cdist(features[10:].flatten(0, 1), means).argmin(1)
    truth = torch.arange(len(LETTERS)).repeat(10)
    assert (nearest == truth).float().mean() > 0.8

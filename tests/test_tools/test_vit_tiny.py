"""The embedded backbone that was pre-trained on drawn pictures."""

import torch
from drawn_pictures import CLASSES, LETTERS, draw_batch
from mmpretrain.models.backbones import VisionTransformer
from safetensors.torch import load_file
from vit_tiny import VIT_TINY, extract, load_backbone

from mmdmlora.io.schemes import WEIGHTS_DIR

WEIGHTS = WEIGHTS_DIR / 'vit-tiny_drawn.safetensors'


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

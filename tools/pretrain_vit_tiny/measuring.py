"""What a pre-trained backbone can do, in per cent."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from drawn_pictures import CLASSES, GROUPS, SIZE, draw_batch
from mmpretrain.models.backbones import VisionTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from vit_tiny import extract

from mmdmlora.datasets import Digits

TEST_SEED = 1_000_003


@torch.no_grad()
def measure_drawn(backbone: VisionTransformer, head: nn.Linear) -> dict[str, float]:
    """Measure the accuracy on 10,400 new pictures, in per cent, by group of classes."""
    images, labels = draw_batch(range(10_400), TEST_SEED)
    is_right = head(extract(backbone, images)).argmax(1).numpy() == labels
    return {
        group: 100 * is_right[np.isin(labels, [CLASSES.index(n) for n in names])].mean()
        for group, names in GROUPS.items()
    }


def probe_digits(backbone: VisionTransformer) -> float:
    """Measure a linear classifier on the frozen features of handwritten digits.

    Args:
        backbone: The network, in evaluation mode.

    Returns:
        float: The accuracy in per cent on the 997 images outside ``train800``.
    """
    features, labels = {}, {}
    for split in ('train800', 'val200', 'test'):
        dataset = Digits(split)
        images = [cv2.resize(sample['img'], (SIZE, SIZE)) for sample in dataset]
        features[split] = extract(backbone, np.stack(images)).numpy()
        labels[split] = dataset.get_gt_labels()
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    probe.fit(features['train800'], labels['train800'])
    return 100 * probe.score(
        np.concatenate([features['val200'], features['test']]),
        np.concatenate([labels['val200'], labels['test']]),
    )

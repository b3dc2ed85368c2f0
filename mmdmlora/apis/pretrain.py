"""Pre-training of the embedded backbone on drawn pictures."""

from __future__ import annotations

import math
import time
from pathlib import Path

import cv2
import numpy as np
import safetensors.torch
import torch
from matplotlib.figure import Figure
from mmpretrain.models.backbones import VisionTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from ..datasets.digits import Digits
from ..datasets.drawn import CLASSES, GROUPS, LETTERS, SIZE, draw_batch
from ..io import atomic_write
from ..models.pretrained import load_pretrained

EMBED_DIMS = 96
VIT_TINY = dict(
    arch=dict(embed_dims=EMBED_DIMS, num_layers=4, num_heads=3, feedforward_channels=384),
    img_size=SIZE,
    patch_size=6,
    patch_cfg=dict(kernel_size=8, stride=6, padding=0),
    out_type='cls_token',
)
MEAN = STD = 127.5
TEST_SEED = 1_000_003


def to_input(images: Tensor | np.ndarray) -> Tensor:
    """Turn pictures (B, H, W, 3) from 0 to 255 into the network's input (B, 3, H, W)."""
    images = torch.as_tensor(images).permute(0, 3, 1, 2).float()
    return ((images - MEAN) / STD).contiguous()


@torch.no_grad()
def initialise(backbone: VisionTransformer, images: Tensor) -> None:
    """Give a ViT start values from which it learns letters sooner than from the usual.

    Three changes, all in place:

    - The filters of the patch embedding are the leading principal components of real
      patches, scaled to a standard deviation of 0.3. (Neighbouring pixels are nearly
      equal, so that random filters mostly carry a patch's mean.)
    - The position embedding is sines and cosines of row and column, times 0.3.
    - Attention starts as in trained ViTs: ``W_q^T W_k`` near ``0.7 (Z + I)`` and
      ``W_proj W_v`` near ``0.4 (Z - I)``, with Z random.

    Args:
        backbone: The network.
        images: Input pictures, of shape (B, 3, 32, 32).

    Source:
        Attention: Trockman and Kolter, Mimetic Initialization of Self-Attention
        Layers, ICML 2023 (arXiv:2305.09828). The rest is this project's.
    """
    conv = backbone.patch_embed.projection
    patches = F.unfold(images, conv.kernel_size, padding=conv.padding, stride=conv.stride)
    patches = patches.transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    values, vectors = values.flip(0), vectors.flip(1).T
    dims = conv.out_channels
    filters = 0.3 * vectors[:dims] / (values[:dims, None] + 0.01).sqrt()
    conv.weight.copy_(filters.view_as(conv.weight))
    conv.bias.copy_(-filters @ patches.mean(0))

    rows, columns = backbone.patch_resolution
    waves = torch.arange(1, dims // 4 + 1) * math.pi / (2 * rows)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing='ij')
    angles = [place.flatten()[:, None] * waves for place in (y, x)]
    position = torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], dim=1)
    backbone.pos_embed[0, 1:] = 0.3 * position

    identity = torch.eye(dims)
    for layer in backbone.layers:
        query, key, value = layer.attn.qkv.weight.chunk(3)
        size = layer.attn.head_dims
        for first in range(0, dims, size):
            noise = torch.randn(dims, dims) / dims**0.5
            left, right = _factors(0.7 * (noise + identity), size)
            query[first : first + size], key[first : first + size] = left.T, right
        noise = torch.randn(dims, dims) / dims**0.5
        left, right = _factors(0.4 * (noise - identity), dims)
        layer.attn.proj.weight.copy_(left)
        value.copy_(right)


def _factors(product: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Split a matrix into the two factors (n, rank) and (rank, n) nearest to it."""
    left, scales, right = torch.linalg.svd(product)
    root = scales[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]


def pretrain(
    num_images: int,
    batch_size: int = 64,
    lr: float = 2e-3,
    weight_decay: float = 0.05,
    seed: int = 0,
    log_interval: int = 500,
) -> tuple[VisionTransformer, nn.Linear]:
    """Train a new backbone to tell the drawn classes apart.

    AdamW with a warm-up over 5 % of the steps and a cosine to zero, label smoothing 0.1,
    gradients clipped at norm 1. The pictures get harder over the first half of the
    steps: their level grows from 0.1 to 1.

    Args:
        num_images (int): How many pictures to see, each once.
        batch_size (int): Defaults to 64.
        lr (float): The highest learning rate. Defaults to 2e-3.
        weight_decay (float): Defaults to 0.05.
        seed (int): The seed of weights and pictures. Defaults to 0.
        log_interval (int): The steps between two printed lines. Defaults to 500.

    Returns:
        tuple: The backbone and its classifier, in evaluation mode, with weights rounded
        to half precision.
    """
    torch.manual_seed(seed)
    backbone, head = VisionTransformer(**VIT_TINY), nn.Linear(EMBED_DIMS, len(CLASSES))
    backbone.init_weights()
    initialise(backbone, to_input(draw_batch(range(2048), seed)[0]))
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    num_steps = num_images // batch_size
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1, 20 * (step + 1) / num_steps)
            * (0.5 + 0.5 * math.cos(math.pi * step / num_steps))
        ),
    )
    start, num_right = time.time(), 0
    for step in range(1, num_steps + 1):
        numbers = range((step - 1) * batch_size, step * batch_size)
        level = min(1.0, 0.1 + 1.8 * step / num_steps)
        images, labels = draw_batch(numbers, seed, level)
        labels = torch.from_numpy(labels)
        logits = head(backbone(to_input(images))[0])
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        num_right += (logits.argmax(1) == labels).sum().item()
        if step % log_interval == 0:
            accuracy = 100 * num_right / (log_interval * batch_size)
            minutes, num_right = (time.time() - start) / 60, 0
            print(f'{step}/{num_steps}: {accuracy:.1f} %, {minutes:.1f} min', flush=True)
    backbone.half().float()
    backbone.eval()
    return backbone, head


@torch.no_grad()
def extract(backbone: VisionTransformer, images: np.ndarray) -> Tensor:
    """Compute features (B, 96) of pictures (B, 32, 32, 3) from 0 to 255."""
    chunks = to_input(images).split(256)
    return torch.cat([backbone(chunk)[0] for chunk in chunks])


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


def save_backbone(
    backbone: VisionTransformer, path: str | Path, record: dict[str, object]
) -> None:
    """Write a backbone's weights in half precision, under mmpretrain's names.

    Args:
        backbone: The network.
        path: The ``.safetensors`` file to write.
        record: What to note in the file about the training.
    """
    state = {k: v.half().contiguous() for k, v in backbone.state_dict().items()}
    metadata = {key: str(value) for key, value in record.items()}
    with atomic_write(path) as stream:
        stream.write(safetensors.torch.save(state, metadata))


def load_backbone(path: str | Path) -> VisionTransformer:
    """Read what :func:`save_backbone` wrote, in evaluation mode."""
    backbone = VisionTransformer(**VIT_TINY)
    load_pretrained(backbone, str(path))
    backbone.eval()
    return backbone


def save_contact_sheet(path: str | Path, seed: int = 0) -> None:
    """Draw a page with six samples of each class, under the class's name."""
    columns, samples = 4, 6
    images, _ = draw_batch(range(samples * len(CLASSES)), seed)
    images = images.reshape(samples, len(CLASSES), SIZE, SIZE, 3)
    strips = np.pad(images, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)], constant_values=255)
    figure = Figure(figsize=(10, 5.8), layout='constrained')
    axes = figure.subplots(len(CLASSES) // columns, columns)
    for axis, name, strip in zip(
        axes.T.flat, CLASSES, strips.swapaxes(0, 1), strict=True
    ):
        axis.imshow(np.concatenate(list(strip), axis=1))
        axis.set_ylabel(
            ' '.join(name) if name in LETTERS else name,
            rotation=0,
            ha='right',
            va='center',
        )
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)

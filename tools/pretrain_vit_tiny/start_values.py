"""Start values from which a tiny ViT learns letters in a short training."""

from __future__ import annotations

import math

import torch
from mmpretrain.models.backbones import VisionTransformer
from torch import Tensor
from torch.nn import functional as F


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

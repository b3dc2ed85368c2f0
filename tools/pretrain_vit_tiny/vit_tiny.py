"""The embedded backbone: its architecture, input, features and file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from drawn_pictures import SIZE
from mmpretrain.models.backbones import VisionTransformer
from torch import Tensor

from mmdmlora.io import atomic_write
from mmdmlora.models.pretrained import load_pretrained

EMBED_DIMS = 96
VIT_TINY = dict(
    arch=dict(embed_dims=EMBED_DIMS, num_layers=4, num_heads=3, feedforward_channels=384),
    img_size=SIZE,
    patch_size=6,
    patch_cfg=dict(kernel_size=8, stride=6, padding=0),
    out_type='cls_token',
)
MEAN = STD = 127.5


def to_input(images: Tensor | np.ndarray) -> Tensor:
    """Turn pictures (B, H, W, 3) from 0 to 255 into the network's input (B, 3, H, W)."""
    images = torch.as_tensor(images).permute(0, 3, 1, 2).float()
    return ((images - MEAN) / STD).contiguous()


@torch.no_grad()
def extract(backbone: VisionTransformer, images: np.ndarray) -> Tensor:
    """Compute features (B, 96) of pictures (B, 32, 32, 3) from 0 to 255."""
    chunks = to_input(images).split(256)
    return torch.cat([backbone(chunk)[0] for chunk in chunks])


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

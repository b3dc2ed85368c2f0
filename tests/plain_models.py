"""Tiny classifiers of libraries beside OpenMMLab, with three classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
import torch
import torchvision
import transformers
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig

SIDE = 32
VIT = dict(
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=48,
    image_size=SIDE,
    patch_size=8,
    num_labels=3,
)


def transformers_model(kind: str, **options: Any) -> nn.Module:
    """A classifier of transformers from its config: nothing is downloaded."""
    config = getattr(transformers, f'{kind}Config')(**options)
    return getattr(transformers, f'{kind}ForImageClassification')(config)


def timm_vit(**options: Any) -> nn.Module:
    sizes = dict(img_size=SIDE, patch_size=8, embed_dim=24, depth=2, num_heads=2)
    options = dict(sizes, num_classes=3, init_values=1.0, **options)
    return timm.create_model('vit_small_patch14_dinov2', **options)


def timm_swin() -> nn.Module:
    return timm.create_model(
        'swin_tiny_patch4_window7_224',
        img_size=SIDE,
        window_size=4,
        embed_dim=12,
        depths=(2, 2),
        num_heads=(1, 2),
        num_classes=3,
    )


def timm_convnext(**options: Any) -> nn.Module:
    sizes = dict(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8), num_classes=3)
    return timm.create_model('convnext_tiny', **sizes, ls_init_value=1.0, **options)


def torchvision_convnext() -> nn.Module:
    blocks = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)]
    return torchvision.models.ConvNeXt(blocks, num_classes=3, layer_scale=1.0)


def torchvision_vit() -> nn.Module:
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(SIDE, 8, 2, 2, 24, 48, num_classes=3)
    nn.init.normal_(model.heads.head.weight)  # its head starts from zero
    return model


def transformers_convnext(kind: str = 'ConvNext') -> nn.Module:
    return transformers_model(
        kind,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        num_labels=3,
        layer_scale_init_value=1.0,
    )


def transformers_swin() -> nn.Module:
    return transformers_model(
        'Swin',
        embed_dim=12,
        depths=[2, 2],
        num_heads=[1, 2],
        window_size=4,
        image_size=SIDE,
        patch_size=4,
        num_labels=3,
    )


# Each with the path of its head and of one layer that low-rank methods adapt.
MODELS: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    'timm vit': (timm_vit, 'head', 'blocks.1.attn.qkv'),
    'timm swin': (timm_swin, 'head', 'layers.1.blocks.0.attn.qkv'),
    'timm convnext': (timm_convnext, 'head', 'stages.3.blocks.0.mlp.fc1'),
    'timm convnext, convolutions': (
        lambda: timm_convnext(conv_mlp=True),
        'head.fc',
        'stages.3.blocks.0.mlp.fc1',
    ),
    'torchvision convnext': (
        torchvision_convnext,
        'classifier',
        'features.3.0.block.3',
    ),
    'transformers vit': (
        lambda: transformers_model('ViT', **VIT),
        'classifier',
        'vit.layers.1.attention.v_proj',
    ),
    'transformers dinov2': (
        lambda: transformers_model('Dinov2', **VIT),
        'classifier',
        'dinov2.encoder.layer.1.attention.q_proj',
    ),
    'transformers swin': (
        transformers_swin,
        'classifier',
        'swin.encoder.layers.1.blocks.0.attention.q_proj',
    ),
    'transformers convnext': (
        transformers_convnext,
        'classifier',
        'convnext.encoder.stages.3.layers.0.pwconv1',
    ),
    'transformers convnext v2': (
        lambda: transformers_convnext('ConvNextV2'),
        'classifier',
        'convnextv2.encoder.stages.3.layers.0.pwconv1',
    ),
}


def build(name: str, seed: int = 0) -> nn.Module:
    """One of :data:`MODELS`; the same seed gives the same weights."""
    torch.manual_seed(seed)
    return MODELS[name][0]()


def pictures(batch: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random images and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 3, SIDE, SIDE, generator=generator)
    return images, torch.arange(batch) % 3


def logits(output: Any) -> Tensor:
    """Those of a classifier's output."""
    return output if isinstance(output, Tensor) else output.logits


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of its state."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def train(model: nn.Module, steps: int, lr: float = 1e-2) -> None:
    """Train a wrapped classifier."""
    optimizer = torch.optim.AdamW(model.parameter_groups(), lr)
    model.train()
    for step in range(steps):
        images, labels = pictures(seed=step)
        loss = nn.functional.cross_entropy(logits(model(images)), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

"""Reading the architecture of mmpretrain's backbones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

FAMILIES = ('VisionTransformer', 'SwinTransformer', 'ConvNeXt')


@dataclass(frozen=True)
class BackboneSettings:
    """The sizes of a backbone.

    Attributes:
        family: The class of mmpretrain.
        settings: The sizes, under the names that timm's class has for them.
        eps: What its norms add to the variance.
    """

    family: str
    settings: dict[str, Any] = field(default_factory=dict)
    eps: float = 1e-6


def read_architecture(backbone: nn.Module, size: int) -> BackboneSettings:
    """The sizes of a backbone of mmpretrain.

    Args:
        backbone: Without adapters.
        size: The side of its images in pixels.

    Raises:
        ValueError: If it is of another class, or has an option that the same
            architecture doesn't have in timm and transformers.
    """
    family = type(backbone).__name__
    if family not in FAMILIES or not type(backbone).__module__.startswith('mmpretrain.'):
        raise ValueError(
            f'{family} has no known counterpart in timm or transformers: known are '
            f'{", ".join(FAMILIES)} of mmpretrain. Export to onnx, torch-export, '
            'safetensors or mmpretrain.'
        )
    readers = dict(zip(FAMILIES, (_read_vit, _read_swin, _read_convnext), strict=True))
    try:
        settings = readers[family](backbone, size)
    except AttributeError as error:
        raise ValueError(
            f'this {family} is built otherwise than those of timm and transformers '
            f'({error}). Export to onnx, torch-export, safetensors or mmpretrain.'
        ) from error
    norms = [m for m in backbone.modules() if isinstance(m, nn.LayerNorm)]
    return BackboneSettings(family, settings, norms[-1].eps)


def _read_vit(backbone: Any, size: int) -> dict[str, Any]:
    block = backbone.layers[0]
    width = backbone.embed_dims
    if isinstance(block.ffn.layers[1], nn.Linear) is False:
        raise AttributeError('its feed-forward network is gated')
    patches = backbone.patch_embed.projection
    if patches.kernel_size != patches.stride:
        raise AttributeError('its patches overlap')
    return dict(
        img_size=size,
        patch_size=patches.kernel_size[0],
        embed_dim=width,
        depth=len(backbone.layers),
        num_heads=block.attn.num_heads,
        mlp_ratio=block.ffn.layers[0][0].out_features / width,
        qkv_bias=block.attn.qkv.bias is not None,
        init_values=1e-5 if any('gamma1' in n for n in block.state_dict()) else None,
    )


def _read_swin(backbone: Any, size: int) -> dict[str, Any]:
    blocks = [stage.blocks for stage in backbone.stages]
    first = blocks[0][0]
    width = first.attn.w_msa.embed_dims
    return dict(
        img_size=size,
        patch_size=backbone.patch_embed.projection.kernel_size[0],
        embed_dim=width,
        depths=tuple(len(stage) for stage in blocks),
        num_heads=tuple(stage[0].attn.w_msa.num_heads for stage in blocks),
        window_size=first.attn.w_msa.window_size[0],
        mlp_ratio=first.ffn.layers[0][0].out_features / width,
        qkv_bias=first.attn.w_msa.qkv.bias is not None,
    )


def _read_convnext(backbone: Any, size: int) -> dict[str, Any]:
    first = backbone.stages[0][0]
    return dict(
        patch_size=backbone.downsample_layers[0][0].kernel_size[0],
        depths=tuple(backbone.depths),
        dims=tuple(backbone.channels),
        conv_mlp=isinstance(first.pointwise_conv1, nn.Conv2d),
        use_grn=first.grn is not None,
        ls_init_value=None if first.gamma is None else 1e-6,
    )

"""LoRA of Hugging Face's PEFT on the ViT of timm that equals a ViT of mmpretrain."""

from __future__ import annotations

import copy

from mmpretrain.models import VisionTransformer
from torch import nn

from mmdmlora._requirements import extra


def peft_lora(
    backbone: nn.Module, num_classes: int, rank: int, scale: float
) -> nn.Module:
    """Wrap timm's model of the same size by PEFT.

    Args:
        backbone: A ViT of mmpretrain. Its patch embedding is copied, its other weights
            aren't.
        num_classes: Classes of the head.
        rank: Rank of the update of each qkv.
        scale: Factor of the update.

    Returns:
        nn.Module: Maps images to logits. The updates and the head are trained.

    Raises:
        ValueError: If the backbone is no ViT, or timm's isn't as large.
        MissingExtraError: If PEFT or timm isn't installed.
    """
    if type(backbone) is not VisionTransformer:
        raise ValueError(
            f'peft-lora measures a VisionTransformer of mmpretrain, got a '
            f'{type(backbone).__name__}: leave peft-lora out, or name another backbone.'
        )
    with extra('benchmark'):
        from peft import LoraConfig, get_peft_model

    network = _same_in_timm(backbone, num_classes)
    settings = LoraConfig(
        r=rank,
        lora_alpha=scale * rank,
        target_modules=r'.*\.qkv',
        modules_to_save=['head'],
    )
    return get_peft_model(network, settings)


def _same_in_timm(backbone: VisionTransformer, num_classes: int) -> nn.Module:
    with extra('benchmark'):
        from timm.models.vision_transformer import VisionTransformer as TimmViT

    projection = backbone.patch_embed.projection
    arch = backbone.arch_settings
    has_layer_scale = not isinstance(backbone.layers[0].attn.gamma1, nn.Identity)
    network = TimmViT(
        img_size=backbone.img_size,
        patch_size=projection.stride,
        embed_dim=backbone.embed_dims,
        depth=backbone.num_layers,
        num_heads=arch['num_heads'],
        mlp_ratio=arch['feedforward_channels'] / backbone.embed_dims,
        init_values=1.0 if has_layer_scale else None,
        num_classes=num_classes,
    )
    network.patch_embed.proj = copy.deepcopy(projection)
    size = _size(network) - _size(network.head)
    if size != _size(backbone):
        raise ValueError(
            f"timm's ViT has {size:,} parameters where the backbone has "
            f'{_size(backbone):,}: peft-lora would measure another model. Leave it out.'
        )
    return network


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())

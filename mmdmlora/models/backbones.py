"""Where things are in each architecture: one table for all methods."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.util import find_spec
from itertools import pairwise
from typing import NamedTuple

from mmpretrain.models.backbones import SwinTransformer, VisionTransformer, ViTEVA02
from mmpretrain.models.utils import ShiftWindowMSA, WindowMSA
from torch import nn

from .targets import Target, find_targets, is_linear

PLACES = ('attention_in', 'attention_out', 'mlp_in', 'mlp_out')
BLOCKS = {
    'mmpretrain.models.backbones.vision_transformer.TransformerEncoderLayer': dict(
        attention_in='attn.qkv',
        attention_out='attn.proj',
        mlp_in='ffn.layers.0.0',
        mlp_out='ffn.layers.1',
    ),
    'mmpretrain.models.backbones.swin_transformer.SwinBlock': dict(
        attention_in='attn.w_msa.qkv',
        attention_out='attn.w_msa.proj',
        mlp_in='ffn.layers.0.0',
        mlp_out='ffn.layers.1',
    ),
    'mmpretrain.models.backbones.convnext.ConvNeXtBlock': dict(
        attention_in='depthwise_conv',
        mlp_in='pointwise_conv1',
        mlp_out='pointwise_conv2',
    ),
    'timm.models.vision_transformer.Block': dict(
        attention_in='attn.qkv',
        attention_out='attn.proj',
        mlp_in='mlp.fc1',
        mlp_out='mlp.fc2',
    ),
}


# What low-rank methods adapt, by the ends of paths: q and v of each fused qkv, and
# ConvNeXt's first linear layer (the paper's places).
LOW_RANK_TARGETS = (
    dict(type='qkv', parts=('q', 'v')),
    dict(type='pointwise_conv1'),
)


class Stage(NamedTuple):
    """Successive layers, behind which the backbone may read its tokens."""

    layers: list[nn.Module]
    dims: int
    merging: nn.Module | None = None


def default_low_rank_targets(backbone: nn.Module) -> list[dict]:
    """The paper's places: q and v of each fused qkv, and ConvNeXt's first linear layer.

    Raises:
        ValueError: If the backbone has neither.
    """
    names = [name for name, layer in backbone.named_modules() if is_linear(layer)]
    targets = [
        target
        for target in LOW_RANK_TARGETS
        if any(name.endswith(target['type']) for name in names)
    ]
    if not targets:
        raise ValueError(
            f'{type(backbone).__name__} has no fused qkv and no pointwise_conv1: name '
            "the layers to adapt, e.g. targets=[dict(type='fc1')]."
        )
    return targets


def find_places(
    backbone: nn.Module,
    places: Sequence[str],
    targets: Sequence[dict] | None,
    options: Collection[str],
) -> list[Target]:
    """The layers before or after which a method acts.

    Args:
        backbone: The network whose layers are looked up.
        places: What to take of each block: the first layer of the attention
            (``attention_in``, the fused qkv) or of the MLP (``mlp_in``), the last one of
            either (``attention_out``, ``mlp_out``). In ConvNeXt the depthwise
            convolution stands for the attention; as it has no output projection,
            ``attention_out`` doesn't exist there.
        targets: If given, these layers instead, see
            :func:`~mmdmlora.models.targets.find_targets`; without ``parts``.
        options: The names that a target may override.

    Returns:
        The layers in the order of ``named_modules`` (of ``places`` inside a block).

    Raises:
        ValueError: If a target doesn't fit, no block is known, or a block lacks a place.

    Note:
        Blocks are recognised by their exact class: one that derives from a known block
        may read the weights of its layers without running them (BEiT's attention does).
    """
    assert set(places) <= set(PLACES), places
    if targets is not None:
        found = find_targets(backbone, targets, options)
        if any(target.parts for target in found):
            raise ValueError(
                'parts are for methods that add to the output of a fused qkv: leave '
                'them out of targets.'
            )
        return found
    found = [
        Target(f'{name}.{path}', layer, (), {})
        for name, block in backbone.named_modules()
        if _class_name(block) in BLOCKS
        for path, layer in _layers(block, name, places)
    ]
    if not found:
        known = ', '.join(name.rsplit('.', 1)[-1] for name in BLOCKS)
        raise ValueError(
            f'{type(backbone).__name__} has no block whose places are known ({known}): '
            "name the linear layers, e.g. targets=[dict(type='fc1')]."
        )
    return found


def _class_name(module: nn.Module) -> str:
    return f'{type(module).__module__}.{type(module).__qualname__}'


def _layers(
    block: nn.Module, name: str, places: Sequence[str]
) -> list[tuple[str, nn.Linear | nn.Conv2d]]:
    paths = BLOCKS[_class_name(block)]
    layers = []
    for place in places:
        if place not in paths:
            raise ValueError(
                f'a {type(block).__name__} has no {place}: its places are '
                f'{", ".join(paths)}. Choose another placement or name layers by targets.'
            )
        try:
            layer = block.get_submodule(paths[place])
        except AttributeError:
            layer = None
        if not isinstance(layer, (nn.Linear, nn.Conv2d)):
            raise ValueError(
                f'the {type(block).__name__} {name!r} has no linear layer '
                f'{paths[place]!r}: it was built with another attention or MLP. Name the '
                "layers by targets, e.g. targets=[dict(type='attn.qkv')]."
            )
        layers.append((paths[place], layer))
    return layers


def find_stages(backbone: nn.Module) -> tuple[list[Stage], int]:
    """The stages, and the prompts' place among the tokens.

    Raises:
        ValueError: If the backbone is none that prompts are known for.
    """
    vit = getattr(backbone, 'timm_model', backbone)
    if isinstance(vit, SwinTransformer) and all(
        type(m.w_msa) is WindowMSA for m in vit.modules() if isinstance(m, ShiftWindowMSA)
    ):
        return [Stage(list(s.blocks), s.embed_dims, s.downsample) for s in vit.stages], 0
    if isinstance(vit, VisionTransformer) and not isinstance(vit, ViTEVA02):
        layers, dims, read = list(vit.layers), vit.embed_dims, vit.out_indices
    elif vit is not backbone and _is_timm_vit(vit):
        layers, dims, read = list(vit.blocks), vit.embed_dim, ()
    else:
        raise ValueError(
            f'{type(vit).__name__} has no tokens, or none that VPTModel can prompt: use '
            'a VisionTransformer, a SwinTransformer or a VisionTransformer of timm. (For '
            'ConvNets the paper pads the images instead, which is not built here.)'
        )
    ends = [i for i in range(1, len(layers) + 1) if i - 1 in read or i == len(layers)]
    stages = [Stage(layers[i:j], dims) for i, j in pairwise([0, *ends])]
    return stages, int(vit.cls_token is not None)


def _is_timm_vit(model: nn.Module) -> bool:
    if find_spec('timm') is None:
        return False
    from timm.models import VisionTransformer as TimmViT

    return isinstance(model, TimmViT)

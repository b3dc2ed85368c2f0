"""Where things are in each architecture: one table for all methods."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

from mmpretrain.models.backbones import SwinTransformer, VisionTransformer, ViTEVA02
from mmpretrain.models.utils import ShiftWindowMSA, WindowMSA
from torch import nn

from .targets import Target, find_targets

PLACES = ('attention_in', 'attention_out', 'mlp_in', 'mlp_out')
TIMM_BLOCK = dict(
    attention_in='attn.qkv',
    attention_out='attn.proj',
    mlp_in='mlp.fc1',
    mlp_out='mlp.fc2',
)
# Those of transformers have separate layers for q, k and v.
TRANSFORMERS_BLOCK = dict(
    attention_out='attention.o_proj', mlp_in='mlp.fc1', mlp_out='mlp.fc2'
)
TRANSFORMERS_CONVNEXT = dict(attention_in='dwconv', mlp_in='pwconv1', mlp_out='pwconv2')
# Those of torchvision compute the attention from its weights.
TORCHVISION_BLOCK = dict(mlp_in='mlp.0', mlp_out='mlp.3')
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
    'timm.models.vision_transformer.Block': TIMM_BLOCK,
    'timm.models.swin_transformer.SwinTransformerBlock': TIMM_BLOCK,
    'timm.models.convnext.ConvNeXtBlock': dict(
        attention_in='conv_dw', mlp_in='mlp.fc1', mlp_out='mlp.fc2'
    ),
    'torchvision.models.vision_transformer.EncoderBlock': TORCHVISION_BLOCK,
    'torchvision.models.swin_transformer.SwinTransformerBlock': TORCHVISION_BLOCK,
    'torchvision.models.convnext.CNBlock': dict(
        attention_in='block.0', mlp_in='block.3', mlp_out='block.5'
    ),
    'transformers.models.vit.modeling_vit.ViTLayer': TRANSFORMERS_BLOCK,
    'transformers.models.dinov2.modeling_dinov2.Dinov2Layer': TRANSFORMERS_BLOCK,
    'transformers.models.swin.modeling_swin.SwinLayer': TRANSFORMERS_BLOCK,
    'transformers.models.convnext.modeling_convnext.ConvNextLayer': TRANSFORMERS_CONVNEXT,
    'transformers.models.convnextv2.modeling_convnextv2.ConvNextV2Layer': (
        TRANSFORMERS_CONVNEXT
    ),
}
# Where the layers of transformers' models are.
TRANSFORMERS_VITS = {
    'transformers.models.vit.modeling_vit.ViTModel': 'layers',
    'transformers.models.dinov2.modeling_dinov2.Dinov2Model': 'encoder.layer',
}


class Stage(NamedTuple):
    """Successive layers, behind which the backbone may read its tokens."""

    layers: list[nn.Module]
    dims: int
    merging: nn.Module | None = None


class Tokens(NamedTuple):
    """What prompts need to know of a backbone.

    Attributes:
        stages: Its stages.
        position: The prompts' place among the tokens.
        embedding: What makes tokens of an image.
    """

    stages: list[Stage]
    position: int
    embedding: nn.Module


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
                f'a {type(block).__name__} has no single layer as {place}: its places '
                f'are {", ".join(paths)}. Choose another placement, or name layers: '
                f'targets=[dict(type={next(iter(paths.values()))!r})].'
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


def find_tokens(backbone: nn.Module) -> Tokens:
    """Where the tokens of a backbone run, or of the one in a whole classifier.

    Raises:
        ValueError: If it holds none that prompts are known for.
    """
    for module in backbone.modules():
        tokens = _tokens_of(module)
        if tokens is not None:
            return tokens
    raise ValueError(
        f'{type(backbone).__name__} has no tokens, or none that VPTModel can prompt: use '
        'a VisionTransformer of mmpretrain, timm or torchvision, a SwinTransformer of '
        'mmpretrain, or a ViTModel or Dinov2Model of transformers. (For ConvNets the '
        'paper pads the images instead, which is not built here.)'
    )


def _tokens_of(module: nn.Module) -> Tokens | None:
    if isinstance(module, SwinTransformer) and all(
        type(m.w_msa) is WindowMSA
        for m in module.modules()
        if isinstance(m, ShiftWindowMSA)
    ):
        stages = [
            Stage(list(stage.blocks), stage.embed_dims, stage.downsample)
            for stage in module.stages
        ]
        return Tokens(stages, 0, module.patch_embed)
    if isinstance(module, VisionTransformer) and not isinstance(module, ViTEVA02):
        layers, read = list(module.layers), module.out_indices
        ends = [i for i in range(1, len(layers) + 1) if i - 1 in read or i == len(layers)]
        stages = [Stage(layers[i:j], module.embed_dims) for i, j in pairwise([0, *ends])]
        return Tokens(stages, int(module.cls_token is not None), module.patch_embed)
    if _is_instance(module, 'timm.models', 'VisionTransformer'):
        stages = [Stage(list(module.blocks), module.embed_dim)]
        return Tokens(stages, int(module.cls_token is not None), module.patch_embed)
    if _is_instance(module, 'torchvision.models', 'VisionTransformer'):
        stages = [Stage(list(module.encoder.layers), module.hidden_dim)]
        return Tokens(stages, 1, module.conv_proj)
    if _class_name(module) in TRANSFORMERS_VITS:
        layers = list(module.get_submodule(TRANSFORMERS_VITS[_class_name(module)]))
        return Tokens([Stage(layers, module.config.hidden_size)], 1, module.embeddings)
    return None


def _is_instance(module: nn.Module, library: str, name: str) -> bool:
    """Whether it is of a class of a library that may not be installed."""
    loaded = sys.modules.get(library)
    return loaded is not None and isinstance(module, getattr(loaded, name))

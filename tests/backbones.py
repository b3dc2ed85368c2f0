"""Tiny backbones of timm, the same in mmpretrain, and their weights in other layouts."""

from __future__ import annotations

import re

import timm
import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

SOURCES = dict(
    vit=(
        'vit_base_patch16_224',
        dict(img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=2),
        dict(
            type='mmpretrain.VisionTransformer',
            arch=dict(embed_dims=24, num_layers=3, num_heads=2, feedforward_channels=96),
            img_size=32,
            patch_size=8,
        ),
    ),
    dinov2=(
        'vit_small_patch14_dinov2',
        dict(img_size=56, embed_dim=24, depth=2, num_heads=3),
        dict(
            type='mmpretrain.VisionTransformer',
            arch=dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=96),
            img_size=56,
            patch_size=14,
            layer_scale_init_value=1e-5,
        ),
    ),
    swin=(
        'swin_base_patch4_window7_224',
        dict(
            img_size=64,
            window_size=4,
            embed_dim=16,
            depths=(2, 1, 2),
            num_heads=(1, 2, 4),
        ),
        dict(
            type='mmpretrain.SwinTransformer',
            arch=dict(embed_dims=16, depths=[2, 1, 2], num_heads=[1, 2, 4]),
            img_size=64,
            window_size=4,
            out_indices=(2,),
        ),
    ),
    convnext=(
        'convnext_base',
        dict(depths=(1, 2, 1, 1), dims=(8, 12, 16, 24)),
        dict(
            type='mmpretrain.ConvNeXt',
            arch=dict(depths=[1, 2, 1, 1], channels=[8, 12, 16, 24]),
        ),
    ),
)


def build(name: str) -> tuple[nn.Module, nn.Module]:
    """timm's model with random weights, and mmpretrain's model."""
    torch.manual_seed(3)
    timm_name, options, stock = SOURCES[name]
    source = timm.create_model(timm_name, **options).eval()
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.normal_(std=0.2)
    stock = MODELS.build(dict(stock))
    stock.eval()
    return source, stock


def outputs(source: nn.Module, stock: nn.Module, name: str) -> tuple[Tensor, Tensor]:
    """The features that a head reads, of timm's model and of mmpretrain's."""
    side = SOURCES[name][1].get('img_size', 64)
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        theirs = source.forward_head(source.forward_features(x), pre_logits=True)
        ours = stock(x)[-1]
    return theirs, ours.mean((2, 3)) if ours.ndim == 4 else ours


def jax_vit(state: dict[str, Tensor], heads: int) -> dict:
    """timm's ViT weights as the JAX files hold them, with a head to be left out."""
    array = {name: value.numpy() for name, value in state.items()}
    dims = array['cls_token'].shape[-1]
    out = {
        'cls': array['cls_token'],
        'Transformer/posembed_input/pos_embedding': array['pos_embed'],
        'embedding/kernel': array['patch_embed.proj.weight'].transpose(2, 3, 1, 0),
        'embedding/bias': array['patch_embed.proj.bias'],
        'Transformer/encoder_norm/scale': array['norm.weight'],
        'Transformer/encoder_norm/bias': array['norm.bias'],
        'pre_logits/kernel': array['head.weight'],
        'head/bias': array['head.bias'],
    }
    for i in range(sum(name.endswith('attn.qkv.weight') for name in array)):
        ours, theirs = f'blocks.{i}', f'Transformer/encoderblock_{i}'
        attention = f'{theirs}/MultiHeadDotProductAttention_1'
        for part, name in enumerate(('query', 'key', 'value')):
            rows = slice(part * dims, (part + 1) * dims)
            weight = array[f'{ours}.attn.qkv.weight'][rows].T
            bias = array[f'{ours}.attn.qkv.bias'][rows]
            out[f'{attention}/{name}/kernel'] = weight.reshape(dims, heads, -1)
            out[f'{attention}/{name}/bias'] = bias.reshape(heads, -1)
        weight = array[f'{ours}.attn.proj.weight'].T
        out[f'{attention}/out/kernel'] = weight.reshape(heads, -1, dims)
        out[f'{attention}/out/bias'] = array[f'{ours}.attn.proj.bias']
        for norm, name in (('norm1', 'LayerNorm_0'), ('norm2', 'LayerNorm_2')):
            out[f'{theirs}/{name}/scale'] = array[f'{ours}.{norm}.weight']
            out[f'{theirs}/{name}/bias'] = array[f'{ours}.{norm}.bias']
        for dense, name in enumerate(('fc1', 'fc2')):
            mlp = f'{theirs}/MlpBlock_3/Dense_{dense}'
            out[f'{mlp}/kernel'] = array[f'{ours}.mlp.{name}.weight'].T
            out[f'{mlp}/bias'] = array[f'{ours}.mlp.{name}.bias']
    return out


def official_swin(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's Swin weights as its authors' code saves them, buffers included."""
    out = {}
    for name, value in state.items():
        if name.startswith('layers.') and '.downsample.' in name:
            stage = int(name.split('.')[1])
            name = name.replace(f'layers.{stage}.', f'layers.{stage - 1}.', 1)
        if name.endswith('relative_position_bias_table'):
            index = name.replace('bias_table', 'index')
            out[index] = torch.zeros(16, 16, dtype=torch.long)
        out[name.replace('head.fc.', 'head.')] = value
    out['layers.0.blocks.1.attn_mask'] = torch.zeros(4, 16, 16)
    return out


def official_convnext(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's ConvNeXt weights as its authors' code saves them."""
    rules = (
        (r'^stem\.', 'downsample_layers.0.'),
        (r'^stages\.(\d)\.downsample\.', r'downsample_layers.\1.'),
        (r'\.blocks\.', '.'),
        (r'\.conv_dw\.', '.dwconv.'),
        (r'\.mlp\.fc', '.pwconv'),
        (r'^head\.norm\.', 'norm.'),
        (r'^head\.fc\.', 'head.'),
    )
    out = {}
    for name, value in state.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        out[name] = value
    return out


def layouts(name: str, source: nn.Module) -> dict[str, dict]:
    """The weights of timm's model, in its own layout and in others."""
    state = source.state_dict()
    found = dict(timm=state)
    if name == 'vit':
        found['JAX'] = jax_vit(state, heads=source.blocks[0].attn.num_heads)
    if name == 'swin':
        found['official'] = official_swin(state)
    if name == 'convnext':
        found['official'] = official_convnext(state)
    return found

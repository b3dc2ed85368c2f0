"""How other libraries name and store a backbone's tensors.

A :class:`Layout` is one way of naming, recognised by :attr:`Layout.signs`. Its rules
turn each name into mmpretrain's, then ``finish`` reorders the values where the library
stores them differently.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from . import transformers_rules as transformers
from .values import (
    State,
    add_relative_index,
    check_tokens,
    finish_swin,
    finish_timm_swin,
    from_flax,
    from_transformers,
    from_transformers_swin,
    number_norm,
)


@dataclass(frozen=True)
class Layout:
    """One way of naming a backbone's tensors.

    Attributes:
        name: What a message calls it.
        family: The class of mmpretrain.
        signs: Patterns; each one fits the start of at least one name, behind a prefix
            that all share.
        rules: Pairs of a pattern for a full name and mmpretrain's name.
        dropped: A pattern for full names that are left out, such as a head's.
        finish: Reorders the values and completes the renamed state.
    """

    name: str
    family: str
    signs: tuple[str, ...]
    rules: tuple[tuple[str, str], ...]
    dropped: str = r'(head|head_dist|pre_logits)[./].*'
    finish: Callable[[State], State] = dict

    def prefixes(self, names: Iterable[str]) -> set[str]:
        """What stands before the names where all signs are found."""
        found = [
            {
                name[: match.start()]
                for name in names
                for match in re.finditer(rf'(?:^|(?<=[./])){sign}', name)
            }
            for sign in self.signs
        ]
        return set.intersection(*found)


_WB = r'(weight|bias)'
_VIT_RULES = (
    (r'cls_token|pos_embed', r'\g<0>'),
    (rf'patch_embed\.proj\.{_WB}', r'patch_embed.projection.\1'),
    (rf'blocks\.(\d+)\.norm([12])\.{_WB}', r'layers.\1.ln\2.\3'),
    (rf'blocks\.(\d+)\.attn\.(qkv|proj)\.{_WB}', r'layers.\1.attn.\2.\3'),
    (rf'blocks\.(\d+)\.mlp\.fc1\.{_WB}', r'layers.\1.ffn.layers.0.0.\2'),
    (rf'blocks\.(\d+)\.mlp\.fc2\.{_WB}', r'layers.\1.ffn.layers.1.\2'),
    (r'blocks\.(\d+)\.ls1\.gamma', r'layers.\1.attn.gamma1.weight'),
    (r'blocks\.(\d+)\.ls2\.gamma', r'layers.\1.ffn.gamma2.weight'),
    (rf'norm\.{_WB}', r'ln1.\1'),
)
_FLAX_BLOCK = r'Transformer/encoderblock_(\d+)'
_FLAX_RULES = (
    (r'cls', 'cls_token'),
    (r'(Transformer/posembed_input/)?pos_embedding', 'pos_embed'),
    (r'embedding/(kernel|bias)', r'patch_embed.projection.\1'),
    (_FLAX_BLOCK + r'/LayerNorm_0/(\w+)', r'layers.\1.ln1.\2'),
    (_FLAX_BLOCK + r'/LayerNorm_[12]/(\w+)', r'layers.\1.ln2.\2'),
    (
        _FLAX_BLOCK + r'/MultiHeadDotProductAttention_[01]/(query|key|value)/(\w+)',
        r'layers.\1.attn.\2.\3',
    ),
    (
        _FLAX_BLOCK + r'/MultiHeadDotProductAttention_[01]/out/(\w+)',
        r'layers.\1.attn.proj.\2',
    ),
    (_FLAX_BLOCK + r'/MlpBlock_[03]/Dense_0/(\w+)', r'layers.\1.ffn.layers.0.0.\2'),
    (_FLAX_BLOCK + r'/MlpBlock_[03]/Dense_1/(\w+)', r'layers.\1.ffn.layers.1.\2'),
    (r'Transformer/encoder_norm/(\w+)', r'ln1.\1'),
)
_SWIN_BLOCK = r'layers\.(\d+)\.blocks\.(\d+)'
_SWIN_RULES = (
    (rf'patch_embed\.proj\.{_WB}', r'patch_embed.projection.\1'),
    (rf'(patch_embed\.)?norm\.{_WB}', r'\g<0>'),
    (rf'{_SWIN_BLOCK}\.(norm[12])\.{_WB}', r'stages.\1.blocks.\2.\3.\4'),
    (
        rf'{_SWIN_BLOCK}\.attn\.((qkv|proj)\.{_WB}|relative_position_bias_table)',
        r'stages.\1.blocks.\2.attn.w_msa.\3',
    ),
    (rf'{_SWIN_BLOCK}\.mlp\.fc1\.{_WB}', r'stages.\1.blocks.\2.ffn.layers.0.0.\3'),
    (rf'{_SWIN_BLOCK}\.mlp\.fc2\.{_WB}', r'stages.\1.blocks.\2.ffn.layers.1.\3'),
    (
        rf'layers\.(\d+)\.downsample\.(norm|reduction)\.{_WB}',
        r'stages.\1.downsample.\2.\3',
    ),
)
_SWIN_DROPPED = r'head\..*|.*\.(attn_mask|relative_position_index)'
_CONVNEXT_RULES = (
    (rf'downsample_layers\.\d\.\d\.{_WB}', r'\g<0>'),
    (r'stages\.\d+\.\d+\.(gamma|norm\.\w+)', r'\g<0>'),
    (rf'(stages\.\d+\.\d+)\.dwconv\.{_WB}', r'\1.depthwise_conv.\2'),
    (rf'(stages\.\d+\.\d+)\.pwconv([12])\.{_WB}', r'\1.pointwise_conv\2.\3'),
    (rf'norm\.{_WB}', r'\g<0>'),
)
_TIMM_CONVNEXT_RULES = (
    (rf'stem\.(\d)\.{_WB}', r'downsample_layers.0.\1.\2'),
    (rf'stages\.(\d+)\.downsample\.(\d)\.{_WB}', r'downsample_layers.\1.\2.\3'),
    (r'stages\.(\d+)\.blocks\.(\d+)\.(gamma|norm\.\w+)', r'stages.\1.\2.\3'),
    (rf'stages\.(\d+)\.blocks\.(\d+)\.conv_dw\.{_WB}', r'stages.\1.\2.depthwise_conv.\3'),
    (
        rf'stages\.(\d+)\.blocks\.(\d+)\.mlp\.fc([12])\.{_WB}',
        r'stages.\1.\2.pointwise_conv\3.\4',
    ),
    (rf'head\.norm\.{_WB}', r'norm.\1'),
)
_OWN_DROPPED = r'(head|neck|data_preprocessor)\..*|.*\.attn_mask'
_OWN_RULES = tuple(
    (pattern, r'\g<0>')
    for pattern in (
        r'cls_token|pos_embed',
        r'(patch_embed|layers|stages|downsample_layers)\..+',
        rf'(ln[12]|norm\d)\.{_WB}',
    )
)

_PROJ, _OWN_PROJ = r'patch_embed\.proj\.', r'patch_embed\.projection\.'
_VIT, _SWIN, _CONVNEXT = 'VisionTransformer', 'SwinTransformer', 'ConvNeXt'
_DOWN = r'downsample_layers\.0\.'
LAYOUTS = (
    Layout(
        'JAX ViT',
        _VIT,
        ('embedding/', _FLAX_BLOCK),
        _FLAX_RULES,
        finish=from_flax,
    ),
    Layout(
        'timm ViT',
        _VIT,
        (_PROJ, r'blocks\.\d'),
        _VIT_RULES,
        dropped=r'(head|head_dist|pre_logits)\..*|mask_token|decoder_.*',
        finish=check_tokens,
    ),
    Layout(
        'official Swin',
        _SWIN,
        (_PROJ, r'layers\.0\.downsample\.'),
        _SWIN_RULES,
        _SWIN_DROPPED,
        finish_swin,
    ),
    Layout(
        'timm Swin',
        _SWIN,
        (_PROJ, r'layers\.\d'),
        _SWIN_RULES,
        _SWIN_DROPPED,
        finish_timm_swin,
    ),
    Layout(
        'official ConvNeXt',
        _CONVNEXT,
        (_DOWN, r'stages\.\d+\.\d+\.dwconv'),
        _CONVNEXT_RULES,
        finish=number_norm,
    ),
    Layout(
        'timm ConvNeXt',
        _CONVNEXT,
        (r'stem\.0\.', r'stages\.\d+\.blocks\.\d+\.conv_dw'),
        _TIMM_CONVNEXT_RULES,
        finish=number_norm,
    ),
    Layout(
        'transformers ViT',
        _VIT,
        (r'embeddings\.cls_token', r'(encoder\.layer|layers)\.\d+\.attention\.'),
        transformers.VIT_RULES,
        transformers.DROPPED,
        from_transformers,
    ),
    Layout(
        'transformers Swin',
        _SWIN,
        (r'embeddings\.patch_embeddings\.', r'encoder\.layers\.\d+\.blocks\.'),
        transformers.SWIN_RULES,
        transformers.DROPPED,
        from_transformers_swin,
    ),
    Layout(
        'transformers ConvNeXt',
        _CONVNEXT,
        (r'embeddings\.patch_embeddings\.', r'encoder\.stages\.\d+\.layers\.'),
        transformers.CONVNEXT_RULES,
        transformers.DROPPED,
        number_norm,
    ),
    Layout('mmpretrain ViT', _VIT, (_OWN_PROJ, r'layers\.\d'), _OWN_RULES, _OWN_DROPPED),
    Layout(
        'mmpretrain Swin',
        _SWIN,
        (_OWN_PROJ, r'stages\.\d+\.blocks'),
        _OWN_RULES,
        _OWN_DROPPED,
        add_relative_index,
    ),
    Layout(
        'mmpretrain ConvNeXt',
        _CONVNEXT,
        (_DOWN, r'stages\.\d+\.\d+\.depthwise_conv'),
        _OWN_RULES,
        _OWN_DROPPED,
    ),
)

"""The names of Hugging Face's transformers, as rules of :mod:`.layouts`."""

from __future__ import annotations

WB = r'(weight|bias)'
# Modules of transformers 5, and of version 4, whose names its files keep.
_BLOCK = r'(?:encoder\.layer|layers)\.(\d+)'
_PROJ = r'embeddings\.patch_embeddings\.projection\.'
VIT_RULES = (
    (r'embeddings\.cls_token', 'cls_token'),
    (r'embeddings\.position_embeddings', 'pos_embed'),
    (rf'{_PROJ}{WB}', r'patch_embed.projection.\1'),
    (rf'{_BLOCK}\.(?:layernorm_before|norm1)\.{WB}', r'layers.\1.ln1.\2'),
    (rf'{_BLOCK}\.(?:layernorm_after|norm2)\.{WB}', r'layers.\1.ln2.\2'),
    (
        rf'{_BLOCK}\.attention\.(?:attention\.)?([qkv])(?:uery|ey|alue|_proj)\.{WB}',
        r'layers.\1.attn.\2.\3',
    ),
    (
        rf'{_BLOCK}\.attention\.(?:output\.dense|o_proj)\.{WB}',
        r'layers.\1.attn.proj.\2',
    ),
    (
        rf'{_BLOCK}\.(?:intermediate\.dense|mlp\.fc1)\.{WB}',
        r'layers.\1.ffn.layers.0.0.\2',
    ),
    (rf'{_BLOCK}\.(?:output\.dense|mlp\.fc2)\.{WB}', r'layers.\1.ffn.layers.1.\2'),
    (rf'{_BLOCK}\.layer_scale1\.lambda1', r'layers.\1.attn.gamma1.weight'),
    (rf'{_BLOCK}\.layer_scale2\.lambda1', r'layers.\1.ffn.gamma2.weight'),
    (rf'layernorm\.{WB}', r'ln1.\1'),
)
_SWIN_BLOCK = r'encoder\.layers\.(\d+)\.blocks\.(\d+)'
SWIN_RULES = (
    (rf'{_PROJ}{WB}', r'patch_embed.projection.\1'),
    (rf'embeddings\.norm\.{WB}', r'patch_embed.norm.\1'),
    (rf'{_SWIN_BLOCK}\.layernorm_before\.{WB}', r'stages.\1.blocks.\2.norm1.\3'),
    (rf'{_SWIN_BLOCK}\.layernorm_after\.{WB}', r'stages.\1.blocks.\2.norm2.\3'),
    (
        rf'{_SWIN_BLOCK}\.attention\.(?:self\.)?([qkv])(?:uery|ey|alue|_proj)\.{WB}',
        r'stages.\1.blocks.\2.attn.w_msa.\3.\4',
    ),
    (
        rf'{_SWIN_BLOCK}\.attention\.(?:output\.dense|o_proj)\.{WB}',
        r'stages.\1.blocks.\2.attn.w_msa.proj.\3',
    ),
    (
        rf'{_SWIN_BLOCK}\.attention\.(?:self|relative_position_bias)\.'
        'relative_position_bias_table',
        r'stages.\1.blocks.\2.attn.w_msa.relative_position_bias_table',
    ),
    (
        rf'{_SWIN_BLOCK}\.(?:intermediate\.dense|mlp\.fc1)\.{WB}',
        r'stages.\1.blocks.\2.ffn.layers.0.0.\3',
    ),
    (
        rf'{_SWIN_BLOCK}\.(?:output\.dense|mlp\.fc2)\.{WB}',
        r'stages.\1.blocks.\2.ffn.layers.1.\3',
    ),
    (
        rf'encoder\.layers\.(\d+)\.downsample\.(norm|reduction)\.{WB}',
        r'stages.\1.downsample.\2.\3',
    ),
    (rf'layernorm\.{WB}', r'norm.\1'),
)
_STAGE = r'encoder\.stages\.(\d+)'
CONVNEXT_RULES = (
    (rf'embeddings\.patch_embeddings\.{WB}', r'downsample_layers.0.0.\1'),
    (rf'embeddings\.layernorm\.{WB}', r'downsample_layers.0.1.\1'),
    (rf'{_STAGE}\.downsampling_layer\.(\d)\.{WB}', r'downsample_layers.\1.\2.\3'),
    (rf'{_STAGE}\.layers\.(\d+)\.layer_scale_parameter', r'stages.\1.\2.gamma'),
    (rf'{_STAGE}\.layers\.(\d+)\.layernorm\.{WB}', r'stages.\1.\2.norm.\3'),
    (rf'{_STAGE}\.layers\.(\d+)\.dwconv\.{WB}', r'stages.\1.\2.depthwise_conv.\3'),
    (
        rf'{_STAGE}\.layers\.(\d+)\.pwconv([12])\.{WB}',
        r'stages.\1.\2.pointwise_conv\3.\4',
    ),
    (rf'layernorm\.{WB}', r'norm.\1'),
)
DROPPED = (
    r'(classifier|pooler|cls_classifier|distillation_classifier)\..*|'
    r'embeddings\.mask_token|.*\.relative_position_index'
)

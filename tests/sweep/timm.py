"""Architectures of timm at small size, with default targets where there are some."""

from .backbone import SweepBackbone

VIT = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2)
SWIN = dict(
    img_size=64, window_size=4, embed_dim=12, depths=(1, 2, 1), num_heads=(1, 2, 2)
)
STAGES = dict(depths=(1, 1, 1, 1), embed_dims=(8, 16, 24, 32), num_heads=(1, 2, 2, 2))
CONVNEXT = dict(depths=(1, 1, 1, 1), dims=(8, 8, 16, 24))
RESNET = dict(layers=(1, 1, 1, 1), channels=(16, 16, 32, 32))
VITS = (
    'vit_tiny_patch16_224',
    'vit_small_patch14_dinov2',
    'vit_small_patch14_reg4_dinov2',
    'vit_small_patch16_dinov3',
    'vit_base_patch16_clip_224',
    'vit_base_patch16_siglip_224',
    'vit_relpos_small_patch16_224',
    'vit_srelpos_small_patch16_224',
    'deit_tiny_distilled_patch16_224',
    'deit3_small_patch16_224',
    'beit_base_patch16_224',
    'beitv2_base_patch16_224',
    'eva_large_patch14_196',
    'eva02_tiny_patch14_224',
    'cait_xxs24_224',
    'xcit_nano_12_p16_224',
)


def stock(name: str, *targets: str, size: int = 64, **options) -> SweepBackbone:
    """A backbone of timm."""
    return SweepBackbone(
        dict(type='mmpretrain.TIMMBackbone', model_name=name, **options),
        size,
        tuple(dict(type=target) for target in targets),
    )


_ALL = [
    *(stock(name, size=32, **VIT) for name in VITS),
    stock(
        'samvit_base_patch16',
        size=32,
        **VIT,
        window_size=2,
        global_attn_indexes=(1,),
    ),
    stock(
        'naflexvit_base_patch16_gap',
        size=32,
        patch_size=8,
        embed_dim=24,
        depth=2,
        num_heads=2,
    ),
    stock('convit_tiny', 'attn.v', size=32, **dict(VIT, depth=4)),
    stock(
        'tnt_s_patch16_224',
        r'.*\.v',
        size=32,
        img_size=32,
        embed_dim=24,
        inner_dim=8,
        depth=2,
        num_heads_inner=2,
        num_heads_outer=2,
    ),
    stock('pit_ti_224', size=224),
    stock('levit_128s', 'qkv.linear', size=224),
    stock('swin_tiny_patch4_window7_224', **SWIN),
    stock('swinv2_tiny_window8_256', **SWIN),
    stock(
        'swinv2_cr_tiny_224',
        **dict(SWIN, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2)),
    ),
    stock('twins_svt_small', 'attn.proj', img_size=64, **STAGES),
    stock('pvt_v2_b0', 'attn.q', 'attn.kv', **STAGES),
    stock('davit_tiny', **STAGES),
    stock('coatnet_nano_rw_224', size=224),
    stock(
        'hiera_tiny_224',
        embed_dim=16,
        num_heads=1,
        stages=(1, 1, 1, 1),
        img_size=64,
    ),
    stock('edgenext_xx_small', depths=(1, 2, 2, 2), dims=(8, 16, 24, 32)),
    stock('mobilevit_xxs'),
    stock('mobilevitv2_050', 'qkv_proj'),
    stock(
        'efficientformer_l1',
        size=224,
        depths=(1, 1, 1, 2),
        embed_dims=(8, 16, 24, 32),
        num_vit=1,
    ),
    stock('tiny_vit_5m_224', 'attn.qkv', size=224),
    stock('convnext_atto', 'mlp.fc1', **CONVNEXT),
    stock('convnextv2_atto', 'mlp.fc1', **CONVNEXT),
    stock('resnet50', r'.*layer\d.*\.conv[13]', **RESNET),
    stock('resnetv2_50', r'.*stages.*\.conv[13]', **RESNET, stem_chs=16),
    stock('nf_resnet26', r'.*stages.*\.conv1'),
    stock('botnet26t_256', size=256),
    stock('lambda_resnet26t', size=128),
    stock('mobilenetv3_small_050', 'conv_pw'),
    stock('fastvit_t8', 'mlp.fc1'),
    stock('regnety_002', 'se.fc1'),
    stock('mambaout_femto', 'fc1', depths=(1, 1, 1, 1), dims=(8, 16, 16, 24)),
]
TIMM = {backbone.config['model_name']: backbone for backbone in _ALL}

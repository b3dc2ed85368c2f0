"""The backbones of mmpretrain at tiny size, with default targets where there are some."""

from .backbone import SweepBackbone

VIT = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)
RESNET = dict(depth=50, base_channels=4, stem_channels=4)
POOLFORMER = dict(
    layers=[1, 1, 1, 1],
    embed_dims=[8, 16, 24, 32],
    mlp_ratios=[2, 2, 2, 2],
    layer_scale_init_value=1.0,
)
TWINS = dict(
    embed_dims=[8, 16, 24, 32],
    depths=[2, 2, 2, 2],
    num_heads=[1, 2, 2, 4],
    patch_sizes=[4, 2, 2, 2],
    strides=[4, 2, 2, 2],
    mlp_ratios=[2, 2, 2, 2],
    sr_ratios=[4, 2, 1, 1],
)
HRNET = dict(
    stage1=(1, 'BOTTLENECK', (1,), (8,)),
    stage2=(1, 'BASIC', (1, 1), (4, 8)),
    stage3=(1, 'BASIC', (1, 1, 1), (4, 8, 16)),
    stage4=(1, 'BASIC', (1, 1, 1, 1), (4, 8, 16, 32)),
)
# Classes that the sweep leaves out, and why.
LEFT_OUT = dict(
    CSPNet='the base of the three backbones beside it',
    TIMMBackbone='see the table of timm',
    SparseResNet='runs only inside of the pre-training SparK',
    SparseConvNeXt='runs only inside of the pre-training SparK',
)


def stock(name: str, *targets: str, size: int = 64, **options) -> SweepBackbone:
    """A backbone of mmpretrain."""
    return SweepBackbone(
        dict(type=f'mmpretrain.{name}', **options),
        size,
        tuple(dict(type=target) for target in targets),
    )


def _vit(name: str, **options) -> SweepBackbone:
    return stock(name, size=32, arch=VIT, img_size=32, patch_size=8, **options)


def _resnet(name: str, **options) -> SweepBackbone:
    return stock(name, r'layer\d.*\.conv[13]', **RESNET, **options)


def _hrnet() -> dict:
    return {
        stage: dict(
            num_modules=modules,
            num_branches=len(blocks),
            block=block,
            num_blocks=blocks,
            num_channels=channels,
        )
        for stage, (modules, block, blocks, channels) in HRNET.items()
    }


_ALL = [
    SweepBackbone(dict(type='mmpretrain.LeNet5', num_classes=10), 32, (), 1),
    stock('AlexNet', num_classes=10),
    stock('VGG', size=32, depth=11),
    stock('RegNet', r'.*\.conv[13]', arch='regnetx_400mf'),
    _resnet('ResNet'),
    _resnet('ResNeXt', groups=2, width_per_group=2),
    _resnet('ResNetV1c'),
    _resnet('ResNetV1d'),
    stock('ResNeSt', r'layer\d\.\d\.conv[13]', **RESNET, width_per_group=8),
    _resnet('ResNet_CIFAR'),
    _resnet('SEResNet', se_ratio=2),
    _resnet('SEResNeXt', groups=2, width_per_group=2, se_ratio=2),
    _resnet('Res2Net', scales=2, base_width=4),
    stock('ShuffleNetV1', 'layers.0.0.g_conv_1x1_compress.conv', widen_factor=0.5),
    stock('ShuffleNetV2', 'branch2.0.conv', widen_factor=0.5),
    stock('MobileNetV2', r'layer[2-7].*\.conv\.[02]\.conv', widen_factor=0.1),
    stock('MobileNetV3', 'linear_conv.conv', arch='small'),
    stock('EfficientNet', 'linear_conv.conv', size=32),
    stock('EfficientNetV2', 'se.conv1.conv', size=32, arch='s'),
    stock('HRNet', r'layer1.*\.conv[13]', extra=_hrnet()),
    stock(
        'RepVGG',
        r'stage_\d\.1\.branch_1x1\.conv',
        arch=dict(
            num_blocks=[2] * 4, width_factor=[0.1] * 4, group_layer_map=None, se_cfg=None
        ),
    ),
    stock(
        'MobileOne',
        r'.*[13]\.branch_conv_list\.0\.conv',
        arch=dict(
            num_blocks=[1] * 4,
            width_factor=[0.1] * 4,
            num_conv_branches=[1] * 4,
            num_se_blocks=[0] * 4,
        ),
    ),
    stock(
        'RepLKNet',
        'pw1.conv',
        arch=dict(
            large_kernel_sizes=[5] * 4,
            layers=[1] * 4,
            channels=[8, 8, 16, 16],
            small_kernel=3,
            dw_ratio=1,
        ),
    ),
    stock(
        'RepMLPNet',
        'gp.conv1.conv',
        arch=dict(channels=[8, 16, 24, 32], depths=[1] * 4, sharesets_nums=[1, 2, 4, 8]),
        img_size=64,
        reparam_conv_kernels=(1, 3),
    ),
    stock('CSPDarkNet', r'.*blocks\.\d\.conv1\.conv', size=32, depth=53),
    stock('CSPResNet', r'.*blocks\.\d\.conv1', size=32, depth=50),
    stock('CSPResNeXt', r'.*blocks\.\d\.conv1', size=32, depth=50),
    stock(
        'DenseNet',
        r'.*block\.\d\.conv1',
        arch=dict(growth_rate=4, depths=[2] * 4, init_channels=8),
    ),
    stock('InceptionV3', 'branch1x1.conv', size=80),
    stock(
        'ConvMixer',
        r'stages\.\d\.1',
        size=32,
        arch=dict(embed_dims=16, depth=2, patch_size=4, kernel_size=3),
    ),
    stock('ConvNeXt', size=32, arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 16, 24])),
    stock('PoolFormer', 'mlp.fc1', arch=POOLFORMER),
    stock('RIFormer', 'mlp.fc1', arch=POOLFORMER),
    stock(
        'VAN',
        'attn.proj_1',
        arch=dict(embed_dims=[8, 8, 16, 16], depths=[1] * 4, ffn_ratios=[2] * 4),
    ),
    stock(
        'HorNet',
        'gnconv.proj_in',
        arch=dict(
            base_dim=8,
            depths=[1] * 4,
            orders=[2, 3, 2, 2],
            dw_cfg=[dict(type='DW', kernel_size=3)] * 4,
        ),
    ),
    stock(
        'MlpMixer',
        r'.*mix\.layers\.0\.0',
        size=32,
        arch=dict(embed_dims=24, num_layers=2, tokens_mlp_dims=16, channels_mlp_dims=48),
        img_size=32,
        patch_size=8,
    ),
    stock('Vig', r'blocks\.\d\.0\.fc1\.0', size=224, arch='tiny')._replace(
        is_discontinuous=True
    ),
    stock('PyramidVig', r'stages\.\d\.1\.0\.fc1\.0', size=224, arch='tiny')._replace(
        is_discontinuous=True
    ),
    _vit('VisionTransformer'),
    _vit('DistilledVisionTransformer'),
    _vit('DeiT3'),
    _vit('BEiTViT'),
    _vit('RevVisionTransformer'),
    _vit('ViTEVA02'),
    stock(
        'ViTSAM',
        size=32,
        arch=dict(VIT, global_attn_indexes=[1]),
        img_size=32,
        patch_size=8,
        window_size=2,
        out_channels=16,
    ),
    stock(
        'SwinTransformer',
        size=32,
        arch=dict(embed_dims=12, depths=[2, 2], num_heads=[2, 4]),
        img_size=32,
        window_size=4,
        out_indices=(1,),
    ),
    stock(
        'SwinTransformerV2',
        size=32,
        arch=dict(
            embed_dims=12, depths=[2, 2], num_heads=[2, 4], extra_norm_every_n_blocks=0
        ),
        img_size=32,
        window_size=4,
        out_indices=(1,),
        pretrained_window_sizes=[0, 0],
    ),
    stock(
        'MixMIMTransformer',
        arch=dict(embed_dims=12, depths=[1] * 4, num_heads=[1, 2, 2, 4]),
        img_size=64,
        window_size=[4, 4, 4, 2],
    ),
    stock(
        'HiViT',
        size=64,
        arch=dict(embed_dims=32, depths=[1, 1, 7], num_heads=2),
        img_size=64,
        patch_size=16,
        out_indices=[7],
    ),
    stock(
        'MViT',
        size=32,
        arch=dict(embed_dims=16, num_layers=3, num_heads=1, downscale_indices=[1]),
        img_size=32,
    ),
    stock(
        'DaViT',
        arch=dict(embed_dims=12, depths=[1] * 4, num_heads=[1, 2, 4, 4]),
        window_size=4,
        pad_small_map=True,
    ),
    stock('PCPVT', 'attn.q', 'attn.kv', arch=TWINS),
    stock('SVT', 'attn.proj', arch=dict(TWINS, window_sizes=[4, 4, 4, 2])),
    stock(
        'T2T_ViT',
        size=32,
        img_size=32,
        embed_dims=24,
        num_layers=2,
        t2t_cfg=dict(token_dims=8),
        layer_cfgs=dict(num_heads=2, feedforward_channels=48),
    ),
    stock(
        'TNT',
        'out_proj',
        'ffn.layers.1',
        size=32,
        arch=dict(
            embed_dims_outer=24,
            embed_dims_inner=8,
            num_layers=2,
            num_heads_outer=2,
            num_heads_inner=2,
        ),
        img_size=32,
    ),
    stock(
        'Conformer',
        arch=dict(embed_dims=24, depths=3, num_heads=2, channel_ratio=1),
        base_channels=8,
    ),
    stock(
        'EdgeNeXt',
        arch=dict(channels=[8, 16, 24, 32], depths=[1, 2, 2, 2], num_heads=[2] * 4),
    ),
    stock(
        'MobileViT',
        size=128,
        arch=[
            ['mobilenetv2', 8, 1, 1, 2],
            ['mobilenetv2', 8, 2, 1, 2],
            *[['mobilevit', 8, 2, 16, 32, 1, 2]] * 3,
        ],
    ),
    stock(
        'XCiT',
        size=32,
        img_size=32,
        patch_size=8,
        embed_dims=24,
        depth=2,
        num_heads=2,
    ),
    stock(
        'EfficientFormer',
        size=224,
        arch=dict(
            layers=[1, 1, 1, 2],
            embed_dims=[8, 16, 24, 32],
            downsamples=[False, True, True, True],
            vit_num=1,
        ),
    ),
    stock(
        'TinyViT',
        arch=dict(channels=[8, 16, 24, 32], num_heads=[2] * 4, depths=[1] * 4),
        img_size=(64, 64),
        window_size=[4, 4, 4, 2],
    ),
    stock('LeViT', 'qkv.linear', arch='128s', img_size=64),
]
MMPRETRAIN = {b.config['type'].removeprefix('mmpretrain.'): b for b in _ALL}

"""ViT-B/16, MoCo v3, 300 epochs on ImageNet-1k without labels."""

_base_ = 'vit-b16.py'

weights_source = (
    "mmpretrain's mocov3_vit-base-p16_16xb256-amp-coslr-300e_in1k, or "
    'https://dl.fbaipublicfiles.com/moco-v3/vit-b-300ep/linear-vit-b-300ep.pth.tar, '
    'which is read as it is.'
)
model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmselfsup/1.x/mocov3/'
            'mocov3_vit-base-p16_16xb256-amp-coslr-300e_in1k/'
            'mocov3_vit-base-p16_16xb256-amp-coslr-300e_in1k-224_20220826-25213343.pth'
        )
    )
)
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])

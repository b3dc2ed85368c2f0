"""ViT-S/14, DINOv2, self-supervised on LVD-142M.

98 pixels, 7 x 7 patches, are affordable on a CPU. dinov2-s14-56.py has 56 pixels, for
studies there, and dinov2-s14-224.py has 224, for a GPU. For another multiple of 14 write
a file like these, or give `input_size` and `model=dict(backbone=dict(img_size=...))` to
`compose` in the config of an experiment.
"""

_base_ = 'mmpretrain::dinov2/vit-small-p14_dinov2-pre_headless.py'

input_size = 98
weights_source = (
    "mmpretrain's vit-small-p14_dinov2-pre_3rdparty, or "
    'https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth, '
    'which is read as it is.'
)
model = dict(
    backbone=dict(
        img_size=input_size,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmpretrain/v1.0/dinov2/'
            'vit-small-p14_dinov2-pre_3rdparty_20230426-5641ca5a.pth',
        ),
    ),
    head=dict(
        _delete_=True,
        type='LinearClsHead',
        num_classes=1000,
        in_channels=384,
        loss=dict(type='CrossEntropyLoss'),
    ),
)

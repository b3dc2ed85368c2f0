"""Swin-B, window 7, supervised on ImageNet-22k.

The base initialises every linear layer from the classifier and mixes images and labels:
both are switched off, the first because it would overwrite the pre-trained weights.
"""

_base_ = 'mmpretrain::_base_/models/swin_transformer/base_224.py'

input_size = 224
weights_source = (
    'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
    "swin_base_patch4_window7_224_22k.pth, or the weights of timm's "
    'swin_base_patch4_window7_224.ms_in22k; either file is read as it is.'
)
model = dict(
    backbone=dict(
        drop_path_rate=0.0,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/swin_base_patch4_window7_224_22k.pth',
        ),
    ),
    head=dict(
        _delete_=True,
        type='LinearClsHead',
        num_classes=1000,
        in_channels=1024,
        loss=dict(type='CrossEntropyLoss'),
    ),
    init_cfg=None,
    train_cfg=None,
)
data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)

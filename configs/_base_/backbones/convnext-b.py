"""ConvNeXt-B, supervised on ImageNet-22k.

The base initialises every linear layer from the classifier and mixes images and labels:
both are switched off, the first because it would overwrite the pre-trained weights.
"""

_base_ = 'mmpretrain::_base_/models/convnext/convnext-base.py'

input_size = 224
has_tokens = False
weights_source = (
    "mmpretrain's convnext-base_3rdparty_in21k, or "
    'https://dl.fbaipublicfiles.com/convnext/convnext_base_22k_224.pth, which is read as '
    'it is.'
)
model = dict(
    backbone=dict(
        drop_path_rate=0.0,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/convnext/'
            'convnext-base_3rdparty_in21k_20220124-13b83eec.pth',
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

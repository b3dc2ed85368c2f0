"""ViT-B/16, supervised on ImageNet-21k.

The statistics are those that the weights were trained with; most published VTAB code uses
ImageNet's, see vit-b16-imagenet-stats.py.
"""

_base_ = 'mmpretrain::_base_/models/vit-base-p16.py'

input_size = 224
weights_source = (
    'https://storage.googleapis.com/vit_models/imagenet21k/ViT-B_16.npz, or the weights '
    "of timm's vit_base_patch16_224.orig_in21k; either file is read as it is."
)
model = dict(
    backbone=dict(
        drop_rate=0.0,
        init_cfg=dict(
            _delete_=True, type='Pretrained', checkpoint='checkpoints/vit-b16_in21k.pth'
        ),
    ),
    head=dict(loss=dict(_delete_=True, type='CrossEntropyLoss')),
)
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)

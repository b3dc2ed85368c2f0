"""ViT-B/16, supervised on ImageNet-21k."""

_base_ = 'mmpretrain::_base_/models/vit-base-p16.py'

input_size = 224
weights_source = (
    "https://storage.googleapis.com/vit_models/imagenet21k/ViT-B_16.npz, or timm's "
    "vit_base_patch16_224.orig_in21k; the file must have mmpretrain's names."
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
# The statistics that the weights were trained with (RepAdapter and others use those of
# ImageNet instead).
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)

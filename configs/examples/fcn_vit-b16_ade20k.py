"""A fully convolutional head on ViT-B/16 with DMLoRA, for mmsegmentation.

    mim train mmsegmentation configs/examples/fcn_vit-b16_ade20k.py

Not trained by this project: no result is claimed.
"""

_base_ = ['_base_/mmseg_20k.py']

custom_imports = dict(imports=['mmdmlora'])
crop_size = (512, 512)
weights_source = (
    'https://storage.googleapis.com/vit_models/imagenet21k/ViT-B_16.npz, or the weights '
    "of timm's vit_base_patch16_224.orig_in21k; either file is read as it is."
)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[127.5] * 3,
        std=[127.5] * 3,
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=crop_size,
    ),
    backbone=dict(
        type='mmdmlora.DMLoRAModel',
        rank=8,
        num_branches=8,
        learn_scale=True,
        module=dict(
            type='mmpretrain.VisionTransformer',
            arch='b',
            img_size=512,
            patch_size=16,
            out_type='featmap',
            init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vit-b16_in21k.pth'),
        ),
    ),
    decode_head=dict(
        type='FCNHead',
        in_channels=768,
        in_index=0,
        channels=256,
        num_convs=2,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=crop_size, stride=(341, 341)),
)

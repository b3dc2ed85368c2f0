"""UPerNet on Swin-T with DMLoRA, for mmsegmentation.

    mim train mmsegmentation configs/examples/upernet_swin-t_ade20k.py

Not trained by this project: no result is claimed.
"""

_base_ = ['_base_/mmseg_20k.py', 'mmseg::_base_/models/upernet_swin.py']

custom_imports = dict(imports=['mmdmlora'])
crop_size = (512, 512)
weights_source = (
    'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
    'swin_tiny_patch4_window7_224.pth'
)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        _delete_=True,
        type='mmdmlora.DMLoRAModel',
        rank=8,
        num_branches=8,
        learn_scale=True,
        module=dict(
            type='mmpretrain.SwinTransformer',
            arch='tiny',
            img_size=224,
            pad_small_map=True,
            out_indices=(0, 1, 2, 3),
            init_cfg=dict(
                type='Pretrained',
                checkpoint='checkpoints/swin_tiny_patch4_window7_224.pth',
            ),
        ),
    ),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
)

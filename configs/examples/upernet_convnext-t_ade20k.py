"""UPerNet on ConvNeXt-T with DMLoRA, for mmsegmentation.

    mim train mmsegmentation configs/examples/upernet_convnext-t_ade20k.py

Not trained by this project: no result is claimed.
"""

_base_ = ['_base_/mmseg_20k.py', 'mmseg::_base_/models/upernet_convnext.py']

custom_imports = dict(imports=['mmdmlora'])
crop_size = (512, 512)
weights_source = 'https://dl.fbaipublicfiles.com/convnext/convnext_tiny_22k_224.pth'
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        _delete_=True,
        type='mmdmlora.DMLoRAModel',
        rank=8,
        num_branches=8,
        learn_scale=True,
        module=dict(
            type='mmpretrain.ConvNeXt',
            arch='tiny',
            out_indices=(0, 1, 2, 3),
            gap_before_final_norm=False,
            init_cfg=dict(
                type='Pretrained', checkpoint='checkpoints/convnext_tiny_22k_224.pth'
            ),
        ),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768], num_classes=150),
    auxiliary_head=dict(in_channels=384, num_classes=150),
    test_cfg=dict(_delete_=True, mode='slide', crop_size=crop_size, stride=(341, 341)),
)

"""ViT-B/16, MAE, 1600 epochs on ImageNet-1k without labels.

The head reads the class token. mmpretrain's full fine-tuning averages the patches and
puts a new norm behind them instead (out_type='avg_featmap', final_norm=False): a frozen
backbone would keep that norm as it was initialised.
"""

_base_ = 'vit-b16.py'

weights_source = (
    "mmpretrain's mae_vit-base-p16_8xb512-amp-coslr-1600e_in1k, or "
    'https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth, which is '
    'read as it is.'
)
model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmselfsup/1.x/mae/'
            'mae_vit-base-p16_8xb512-fp16-coslr-1600e_in1k/'
            'mae_vit-base-p16_8xb512-fp16-coslr-1600e_in1k_20220825-f7569ca2.pth'
        )
    )
)
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])

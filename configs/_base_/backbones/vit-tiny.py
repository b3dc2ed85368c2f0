"""The embedded backbone: a tiny ViT, pre-trained on drawn letters, shapes and textures.

It comes with the package, see docs/embedded_backbone.md.
"""

input_size = 32
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(embed_dims=96, num_layers=4, num_heads=3, feedforward_channels=384),
        img_size=32,
        patch_size=6,
        patch_cfg=dict(kernel_size=8, stride=6, padding=0),
        init_cfg=dict(type='Pretrained', checkpoint='mmdmlora://vit-tiny_drawn'),
    ),
    neck=None,
    head=dict(type='LinearClsHead', in_channels=96, num_classes=10),
)
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)

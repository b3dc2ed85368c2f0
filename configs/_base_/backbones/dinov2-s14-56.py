"""ViT-S/14, DINOv2, at 56 pixels: 4 x 4 patches, for studies on a CPU."""

_base_ = 'dinov2-s14.py'

input_size = 56
model = dict(backbone=dict(img_size=input_size))

"""ViT-S/14, DINOv2, at 224 pixels."""

_base_ = 'dinov2-s14.py'

input_size = 224
model = dict(backbone=dict(img_size=input_size))

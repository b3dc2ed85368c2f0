"""ViT-B/16, supervised on ImageNet-21k, with ImageNet's statistics for the input.

Most published VTAB code (NOAH, FacT, convpass, RepAdapter) feeds it so, although the
weights were trained with 0.5 and 0.5.
"""

_base_ = 'vit-b16.py'

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])

"""DMLoRA on ViT-B/16 for VTAB-1k's DTD.

    python tools/train.py configs/dmlora/vit-b16_vtab-dtd.py

Needs checkpoints/vit-b16_in21k.pth and data/vtab-1k/dtd. The paper reports DMLoRA-LS on
all 19 tasks as an average of 77.0 % (supplement, Table 3), with settings chosen for each
task from the grid of its Sec. 9; this file's are not tuned.
"""

_base_ = [
    '../_base_/backbones/vit-b16.py',
    '../_base_/methods/dmlora.py',
    '../_base_/tasks/vtab-dtd.py',
]
from mmdmlora.apis.compose import compose

globals().update(compose(_base_))

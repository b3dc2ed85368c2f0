"""DMLoRA on the embedded backbone for the embedded task: no download needed.

python tools/train.py configs/dmlora/vit-tiny_digits.py
"""

_base_ = [
    '../_base_/backbones/vit-tiny.py',
    '../_base_/methods/dmlora.py',
    '../_base_/tasks/digits.py',
]
from mmdmlora.apis.compose import compose

globals().update(compose(_base_))

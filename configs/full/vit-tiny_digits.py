"""Full fine-tuning on the embedded backbone for the embedded task.

    python tools/train.py configs/full/vit-tiny_digits.py

The learning rate was chosen on the validation images, see docs/embedded_task.md.
"""

_base_ = [
    '../_base_/backbones/vit-tiny.py',
    '../_base_/methods/full.py',
    '../_base_/tasks/digits.py',
]
from mmdmlora.apis.compose import compose

globals().update(compose(_base_))

optim_wrapper = dict(optimizer=dict(lr=5e-4))

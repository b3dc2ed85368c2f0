"""VPT-deep on the embedded backbone for the embedded task.

    python tools/train.py configs/vpt-deep/vit-tiny_digits.py

The learning rate was chosen on the validation images, see docs/embedded_task.md.
"""

_base_ = [
    '../_base_/backbones/vit-tiny.py',
    '../_base_/methods/vpt-deep.py',
    '../_base_/tasks/digits.py',
]
from mmdmlora.apis.compose import compose

globals().update(compose(_base_))

optim_wrapper = dict(optimizer=dict(lr=2e-2))

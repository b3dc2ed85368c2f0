"""DMLoRA-LS on the embedded backbone for the embedded task: no download needed.

    python tools/train.py configs/dmlora/vit-tiny_digits.py

Learning rate, scale and pruning interval were chosen on the validation images, see
docs/embedded_task.md.
"""

_base_ = [
    '../_base_/backbones/vit-tiny.py',
    '../_base_/methods/dmlora.py',
    '../_base_/tasks/digits.py',
]
from mmdmlora.apis.compose import compose

globals().update(compose(_base_))

model['backbone']['scale'] = 10.0
optim_wrapper = dict(optimizer=dict(lr=5e-3))
default_hooks = dict(branch_pruning=dict(interval=1 / 30, min_branches=1))

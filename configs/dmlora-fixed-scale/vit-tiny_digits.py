"""DMLoRA with a fixed scale on the embedded backbone for the embedded task.

    python tools/train.py configs/dmlora-fixed-scale/vit-tiny_digits.py

Learning rate, scale and pruning interval are those of DMLoRA-LS, see
docs/embedded_task.md.
"""

_base_ = [
    '../_base_/backbones/vit-tiny.py',
    '../_base_/methods/dmlora-fixed-scale.py',
    '../_base_/tasks/digits.py',
]
from mmdmlora.apis.compose import compose

globals().update(compose(_base_))

model['backbone']['scale'] = 10.0
optim_wrapper = dict(optimizer=dict(lr=5e-3))
default_hooks = dict(branch_pruning=dict(interval=1 / 30, min_branches=1))

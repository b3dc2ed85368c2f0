"""DMLoRA-LS on the embedded backbone for the embedded task: no download needed.

    python tools/train.py configs/dmlora/vit-tiny_digits.py

Learning rate, scale and pruning interval were chosen on the validation images, see
docs/embedded_task.md. They are a row of the table in mmdmlora/apis/tuned.py.
"""

_base_ = [
    '../_base_/backbones/vit-tiny.py',
    '../_base_/methods/dmlora.py',
    '../_base_/tasks/digits.py',
]
from mmdmlora.apis.compose import compose
from mmdmlora.apis.tuned import tuned

globals().update(compose(_base_, **tuned('dmlora', 'vit-tiny_digits')))

"""DMLoRA with the two-stage learning scalar ("DMLoRA-LS" in the paper's tables)."""

_base_ = './dmlora-fixed-scale.py'

method = dict(learn_scale=True)
default_hooks = dict(learning_scalar=dict(type='LearningScalarHook', stages='B'))

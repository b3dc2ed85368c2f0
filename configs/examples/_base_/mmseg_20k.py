"""What the examples for mmsegmentation share: ADE20K, 20,000 iterations, DMLoRA.

Hooks stand in `default_hooks`, by name, so that mmsegmentation's own tools run them.
Points of the schedules are fractions of the run; whole numbers would count iterations.
"""

_base_ = [
    'mmseg::_base_/datasets/ade20k.py',
    'mmseg::_base_/schedules/schedule_20k.py',
    'mmseg::_base_/default_runtime.py',
]

from mmdmlora.engine.required_hooks import required_hooks

train_cfg = dict(type='mmdmlora.ResumableIterBasedTrainLoop')
optim_wrapper = dict(
    constructor='mmdmlora.PEFTOptimWrapperConstructor',
    optimizer=dict(_delete_=True, type='AdamW', lr=5e-4, weight_decay=0.05),
)

default_hooks = dict(
    **required_hooks(
        by_epoch=False,
        max_keep_ckpts=1,
        save_best='mIoU',
        rule='greater',
    ),
    branch_pruning=dict(type='mmdmlora.BranchPruningHook', interval=0.1),
    learning_scalar=dict(type='mmdmlora.LearningScalarHook', begins=0.5),
    adapter_monitor=dict(type='mmdmlora.AdapterMonitorHook'),
    summary=dict(type='mmdmlora.SummaryHook'),
)
find_unused_parameters = True
randomness = dict(seed=0)

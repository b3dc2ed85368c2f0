"""RetinaNet on ConvNeXt-T with DMLoRA, for mmdetection.

    mim train mmdet configs/examples/retinanet_convnext-t_coco.py

The run counts epochs; branches are pruned inside of them (`by_epoch=False`). Not trained
by this project: no result is claimed.
"""

_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]
from mmdmlora.engine.required_hooks import required_hooks

custom_imports = dict(imports=['mmdmlora'])
weights_source = 'https://dl.fbaipublicfiles.com/convnext/convnext_tiny_22k_224.pth'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdmlora.DMLoRAModel',
        rank=8,
        num_branches=8,
        learn_scale=True,
        module=dict(
            type='mmpretrain.ConvNeXt',
            arch='tiny',
            out_indices=(0, 1, 2, 3),
            gap_before_final_norm=False,
            init_cfg=dict(
                type='Pretrained', checkpoint='checkpoints/convnext_tiny_22k_224.pth'
            ),
        ),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
train_dataloader = dict(
    persistent_workers=False, worker_init_fn=dict(type='mmdmlora.epoch_worker_init_fn')
)
optim_wrapper = dict(
    constructor='mmdmlora.PEFTOptimWrapperConstructor',
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=0.05),
)

default_hooks = dict(
    **required_hooks(max_keep_ckpts=1, save_best='coco/bbox_mAP', rule='greater'),
    branch_pruning=dict(type='mmdmlora.BranchPruningHook', interval=0.1, by_epoch=False),
    learning_scalar=dict(type='mmdmlora.LearningScalarHook', begins=0.5, by_epoch=False),
    adapter_monitor=dict(type='mmdmlora.AdapterMonitorHook'),
    summary=dict(type='mmdmlora.SummaryHook'),
)
find_unused_parameters = True
randomness = dict(seed=0)

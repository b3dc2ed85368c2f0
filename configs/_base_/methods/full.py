"""Full fine-tuning: all of the backbone is trained, with a tenth of the learning rate."""

_base_ = '../default_runtime.py'

method = dict(type='mmdmlora.FullFinetuneModel')
optim_wrapper = dict(
    constructor='PEFTOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
)

"""LoRA of rank 8."""

_base_ = '../default_runtime.py'

method = dict(type='mmdmlora.LoRAModel', rank=8, scale=1.0)
optim_wrapper = dict(
    constructor='PEFTOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
)

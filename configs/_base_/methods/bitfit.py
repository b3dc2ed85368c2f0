"""BitFit: the backbone's biases are trained."""

_base_ = '../default_runtime.py'

method = dict(type='mmdmlora.BitFitModel')
optim_wrapper = dict(
    constructor='PEFTOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
)

"""Linear probe: the head alone is trained."""

_base_ = '../default_runtime.py'

method = dict(type='mmdmlora.LinearProbeModel')
optim_wrapper = dict(
    constructor='PEFTOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
)

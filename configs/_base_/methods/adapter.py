"""Bottleneck adapters of 8 behind each MLP ("pfeiffer")."""

_base_ = '../default_runtime.py'

method = dict(type='mmdmlora.AdapterModel', dim=8, placement='pfeiffer')
optim_wrapper = dict(
    constructor='PEFTOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
)

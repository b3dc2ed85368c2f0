"""RepAdapter with a bottleneck of 8 in 2 groups."""

_base_ = '../default_runtime.py'

method = dict(type='mmdmlora.RepAdapterModel', dim=8, groups=2, scale=1.0, drop_rate=0.1)
optim_wrapper = dict(
    constructor='PEFTOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
)

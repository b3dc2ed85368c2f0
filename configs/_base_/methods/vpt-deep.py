"""VPT-deep: 10 prompts in every layer."""

_base_ = '../default_runtime.py'

method = dict(type='mmdmlora.VPTModel', num_tokens=10, deep=True)
needs_tokens = True
optim_wrapper = dict(
    constructor='PEFTOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
)

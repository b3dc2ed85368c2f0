"""Runtime of every experiment.

Hooks stand in `default_hooks`, by name: a child config that sets one of them, or a
`custom_hooks` list of its own, keeps all others.
"""

_base_ = []  # mmengine takes a config without it, but with imports, for its other kind
from mmdmlora.engine.required_hooks import required_hooks

default_scope = 'mmdmlora'
custom_imports = dict(imports=['mmdmlora'])

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    **required_hooks(max_keep_ckpts=1, save_best='accuracy/top1', rule='greater'),
    adapter_monitor=dict(type='AdapterMonitorHook'),
    summary=dict(type='SummaryHook'),
    console=dict(type='ConsoleHook'),  # None: mmengine's log on the console
)

env_cfg = dict(
    cudnn_benchmark=False,
    allow_tf32=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)
# mmengine's, and the training accuracy: the mean over the last steps, too.
log_processor = dict(mean_pattern=r'.*(loss|time|data_time|grad_norm|accuracy_top-).*')
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0, deterministic=False)

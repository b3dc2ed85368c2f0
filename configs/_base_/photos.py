"""Photos of one's own; `mmdmlora train --data FOLDER` writes a config that has this base.

It is no task: which photos, how many in a batch and for how long is the config's. The
images are treated as in fgvc.py. Their shorter side is resized to 8/7 of the backbone's
input, once, and kept in memory; nothing is squashed. In training a random crop, flipped
half of the time, makes few photos into many; in tests the centre is taken. `val` chooses
the best epoch, the last one is tested once at the end.
"""

data_source = 'the folder that was named with --data.'
train_dataloader = dict(
    dataset=dict(type='CustomDataset', cache='memory'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    worker_init_fn=dict(type='mmdmlora.epoch_worker_init_fn'),
)
val_dataloader = dict(
    dataset=dict(type='CustomDataset', test_mode=True, cache='memory'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = dict(
    dataset=dict(type='CustomDataset', test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
_resize = dict(type='ResizeEdge', edge='short', backend='pillow', interpolation='bicubic')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    _resize,
    dict(type='RandomCrop'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    _resize,
    dict(type='CenterCrop'),
    dict(type='PackInputs'),
]

val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = dict(type='Accuracy', topk=(1,))

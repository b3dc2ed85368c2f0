"""Drawn tasks, which need no download: 64 x 64 pixels, drawn in seconds at the start.

800 images for training, 200 for validation (choices, the best checkpoint), 2,000 for the
test at the end. The files generated-<task>.py name the task.
"""

_base_ = '../schedules/60e.py'

group = 'Structured'
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(type='GeneratedTask', split='train800', cache='memory'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
)
val_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(type='GeneratedTask', split='val200', test_mode=True, cache='memory'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(type='GeneratedTask', split='test', test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
train_pipeline = [
    dict(type='Resize', backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]
test_pipeline = train_pipeline

"""The embedded task: scikit-learn's handwritten digits, 1,797 scans of 8 x 8 pixels.

800 for training, 200 for validation (choices, the best checkpoint), 797 for the test at
the end.
"""

_base_ = '../schedules/60e.py'

num_classes = 10
_loader = dict(batch_size=64, num_workers=0, collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    **_loader,
    dataset=dict(type='Digits', split='train800', cache='memory'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    drop_last=True,
)
val_dataloader = dict(
    **_loader,
    dataset=dict(type='Digits', split='val200', test_mode=True, cache='memory'),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = dict(
    **_loader,
    dataset=dict(type='Digits', split='test', test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
train_pipeline = [dict(type='Resize'), dict(type='PackInputs')]
test_pipeline = train_pipeline

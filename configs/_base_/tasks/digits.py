"""The embedded task: scikit-learn's handwritten digits, 1,797 scans of 8 x 8 pixels.

800 for training, 200 for validation (choices, the best checkpoint), 797 for the test at
the end.
"""

num_classes = 10
_loader = dict(batch_size=64, num_workers=0, collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    **_loader,
    dataset=dict(type='Digits', split='train800'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    drop_last=True,
)
val_dataloader = dict(
    **_loader,
    dataset=dict(type='Digits', split='val200', test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = dict(
    **_loader,
    dataset=dict(type='Digits', split='test', test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
train_pipeline = [dict(type='Resize'), dict(type='PackInputs')]
test_pipeline = train_pipeline

train_cfg = dict(by_epoch=True, max_epochs=60, val_interval=5)
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = dict(type='Accuracy', topk=(1,))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, end=3, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=3, eta_min=1e-5, convert_to_iter_based=True),
]

"""VTAB-1k: 1,000 training images, no augmentation, tested once at the end.

All choices belong on `val200` with `train_dataloader.dataset.split=train800`; the final
model is trained on both and its last epoch is reported.
"""

benchmark = 'VTAB-1k'
data_source = (
    "the VTAB-1k archive that NOAH's and RepAdapter's repositories link to, unpacked to "
    '<data_root>/<task>/{train800,val200,train800val200,test}.txt and '
    '<data_root>/<task>/images.'
)
train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    dataset=dict(
        type='VTAB1k',
        data_root='data/vtab-1k',
        split='train800val200',
        cache='memory',
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    worker_init_fn=dict(type='mmdmlora.epoch_worker_init_fn'),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
)
test_dataloader = dict(
    batch_size=64,
    num_workers=4,
    dataset=dict(type='VTAB1k', data_root='data/vtab-1k', split='test', test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]
test_pipeline = train_pipeline

train_cfg = dict(by_epoch=True, max_epochs=300)
test_cfg = dict()
test_evaluator = dict(type='Accuracy', topk=(1,))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=10, eta_min=1e-5, convert_to_iter_based=True),
]

"""FGVC: whole training sets, VPT's pre-processing, tested once at the end.

The images' shorter side is resized to 8/7 of the backbone's input (256 for 224), then a
crop of the input's size is taken: a random one, flipped half of the time, in training and
the centre in tests. As with VPT, `train` is trained on and `val` is for choices; the last
epoch is tested. `train_dataloader.dataset.subset=0.1` trains on 10 % of the images.
"""

benchmark = 'FGVC'
data_source = (
    "the images from their authors and the lists that VPT's repository links to, "
    'unpacked to <data_root>/<set>/{train,val,test}.json and the image folders beside '
    'them.'
)
_loader = dict(batch_size=64, num_workers=4, collate_fn=dict(type='default_collate'))
_dataset = dict(type='FGVC', data_root='data/fgvc')
train_dataloader = dict(
    **_loader,
    dataset=dict(**_dataset, split='train', cache='memory'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    worker_init_fn=dict(type='mmdmlora.epoch_worker_init_fn'),
    drop_last=True,
)
val_dataloader = dict(
    **_loader,
    dataset=dict(**_dataset, split='val', test_mode=True, cache='memory'),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = dict(
    **_loader,
    dataset=dict(**_dataset, split='test', test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
_resize = dict(
    type='ResizeEdge', edge='short', backend='pillow', interpolation='bilinear'
)
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

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=10)
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = dict(type='Accuracy', topk=(1,))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=10, eta_min=1e-5, convert_to_iter_based=True),
]

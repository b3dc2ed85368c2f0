"""60 epochs, for tasks of 1,000 small images: 3 of warm-up, then a cosine."""

train_cfg = dict(by_epoch=True, max_epochs=60, val_interval=5)
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = dict(type='Accuracy', topk=(1,))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, end=3, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=3, eta_min=1e-5, convert_to_iter_based=True),
]

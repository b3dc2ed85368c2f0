"""Few-shot FGVC: 1 to 16 images a class, NOAH's pre-processing, tested once at the end.

`--cfg-options train_dataloader.dataset.num_shots=4 train_dataloader.dataset.seed=1`
choose the training images. Where a folder holds NOAH's and CoOp's lists, the seed also
chooses between them: set `test_dataloader.dataset.seed` too. Mixup, cutmix and label
smoothing belong to NOAH's recipe, not to the data, and are left out. Choices belong on
`val`.
"""

benchmark = 'few-shot'
data_source = (
    "the images from their authors and the lists of NOAH's repository (or CoOp's), "
    'unpacked to <data_root>/<set>/annotations and the image folders beside them.'
)
_loader = dict(batch_size=64, num_workers=4, collate_fn=dict(type='default_collate'))
_dataset = dict(type='FewShotFGVC', data_root='data/few-shot', num_shots=16, seed=0)
train_dataloader = dict(
    **_loader,
    dataset=dict(**_dataset, split='train', cache='memory'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    worker_init_fn=dict(type='mmdmlora.epoch_worker_init_fn'),
)
test_dataloader = dict(
    **_loader,
    dataset=dict(**_dataset, split='test', test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
# The statistics of ImageNet in the channels' order of the images, blue first.
_mean = [103.53, 116.28, 123.675]
_std = [57.375, 57.12, 58.395]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=_mean,
        fill_std=_std,
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop'),
    dict(type='PackInputs'),
]

train_cfg = dict(by_epoch=True, max_epochs=100)
test_cfg = dict()
test_evaluator = dict(type='Accuracy', topk=(1,))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=10, eta_min=1e-5, convert_to_iter_based=True),
]

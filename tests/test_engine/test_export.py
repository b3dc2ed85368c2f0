"""What a merged model's config keeps, and what it can't."""

import pytest
from mmengine.config import Config

from mmdmlora.engine import stock_config

BACKBONE = dict(type='mmpretrain.VisionTransformer', init_cfg=dict(type='Pretrained'))
LOADING = dict(type='LoadImageFromFile', backend_args=None)


def segmentor(**changes):
    return Config(
        dict(
            default_scope='mmseg',
            custom_imports=dict(imports=['mmpretrain.models', 'mmdmlora.registry']),
            model=dict(
                type='EncoderDecoder',
                backbone=dict(type='mmdmlora.DMLoRAModel', rank=2, module=BACKBONE),
                decode_head=dict(type='FCNHead'),
            ),
            test_pipeline=[LOADING, dict(type='PackSegInputs')],
            test_dataloader=dict(
                batch_size=1,
                dataset=dict(
                    type='ADE20KDataset',
                    data_root='data/ade',
                    pipeline=[LOADING, dict(type='PackSegInputs')],
                ),
            ),
            test_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']),
            test_cfg=dict(type='TestLoop'),
            default_hooks=dict(summary=dict(type='mmdmlora.SummaryHook')),
            train_cfg=dict(type='mmdmlora.ResumableIterBasedTrainLoop', max_iters=2),
        )
        | changes
    )


def test_another_toolbox_keeps_scope_data_and_evaluation():
    config = segmentor()
    stock = stock_config(config)
    assert stock.default_scope == 'mmseg'
    assert stock.custom_imports.imports == ['mmpretrain.models']
    for key in ('test_pipeline', 'test_dataloader', 'test_evaluator', 'test_cfg'):
        assert stock[key] == config[key]
    assert stock.model.backbone == dict(type='mmpretrain.VisionTransformer')
    assert stock.model.decode_head == config.model.decode_head
    assert 'mmdmlora' not in stock.pretty_text


@pytest.mark.parametrize('imports', ['mmdmlora', ['mmdmlora'], ['mmdmlora.registry']])
def test_imports_of_this_package_go(imports):
    stock = stock_config(segmentor(custom_imports=dict(imports=imports)))
    assert 'custom_imports' not in stock


@pytest.mark.parametrize('wrap', [False, True])
@pytest.mark.parametrize(
    'scope, kind', [('mmdmlora', 'VTAB1k'), ('mmpretrain', 'mmdmlora.VTAB1k')]
)
def test_data_of_this_package_becomes_folders_of_images(scope, kind, wrap):
    own = dict(type='mmdmlora.LoadImageFromFile')
    pipeline = [own, dict(type='PackInputs')]
    dataset = dict(type=kind, task='dtd', pipeline=pipeline)
    if wrap:
        dataset = dict(type='RepeatDataset', times=2, dataset=dataset, pipeline=pipeline)
    loader = dict(batch_size=4, dataset=dataset)
    stock = stock_config(segmentor(default_scope=scope, test_dataloader=loader))
    assert stock.default_scope == 'mmpretrain'
    assert stock.test_dataloader.dataset == dict(
        type='CustomDataset',
        data_root='data',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )


@pytest.mark.parametrize(
    'scope, kind, unwraps',
    [
        ('mmdmlora', 'LoRAModel', True),
        ('mmpretrain', 'mmdmlora.LoRAModel', True),
        ('mmpretrain', 'LoRAModel', False),
        ('mmdmlora', 'mmpretrain.LoRAModel', False),
    ],
)
def test_a_name_means_what_its_scope_says(scope, kind, unwraps):
    """mmpretrain has a wrapper of the same name."""
    backbone = dict(type=kind, module=dict(type='VisionTransformer'))
    model = dict(type='ImageClassifier', backbone=backbone)
    stock = stock_config(segmentor(default_scope=scope, model=model))
    assert stock.model.backbone == (backbone['module'] if unwraps else backbone)


def test_classes_in_the_place_of_names():
    from mmdmlora.models import LoRAModel

    model = dict(type='X', neck=[dict(type=LoRAModel, module=dict(type='Y'))])
    assert stock_config(segmentor(model=model)).model.neck == [dict(type='Y')]

"""A head for other classes than those of the data."""

import pytest
from mmengine.runner import Runner
from torch import nn

from mmdmlora.engine import NumClassCheckHook
from tests.peft_runner import config, runner
from tests.wrapped_data import WRAPPERS

CHECK = dict(num_class_check=dict(type='NumClassCheckHook'))
MESSAGE = (
    'model.head.num_classes=7, but the {} data has 10 classes. '
    'Set model.head.num_classes=10'
)


def with_classes(tmp_path, num_classes, **overrides):
    run = runner(tmp_path, epochs=1, hooks=CHECK, **overrides)
    run.model.head.num_classes = num_classes
    return run


def without_classes(dataset):
    dataset._dataset._metainfo = {}


@pytest.mark.parametrize('num_classes', [7, 11])
def test_training_is_refused_before_the_first_step(tmp_path, num_classes):
    run = with_classes(tmp_path, num_classes)
    with pytest.raises(ValueError, match=f'={num_classes}, but the training data'):
        run.train()
    assert run.iter == 0


def test_validation_data_is_looked_at_before_training(tmp_path):
    run = with_classes(tmp_path, 7)
    without_classes(run.train_loop.dataloader.dataset)
    with pytest.raises(ValueError, match=MESSAGE.format('validation')):
        run.train()
    assert run.iter == 0


@pytest.mark.parametrize('kind', ['validation', 'test'])
def test_evaluation_is_refused(tmp_path, kind):
    run = with_classes(tmp_path, 7)
    with pytest.raises(ValueError, match=MESSAGE.format(kind)):
        run.val() if kind == 'validation' else run.test()


def test_models_and_data_without_classes_are_passed_over(tmp_path):
    run = with_classes(tmp_path, 7)
    hook = NumClassCheckHook()
    without_classes(run.test_loop.dataloader.dataset)
    hook.before_test(run)
    run.model = nn.Linear(2, 2)
    hook.before_val(run)


def test_right_head_trains(tmp_path):
    run = with_classes(tmp_path, 10)
    run.train()
    assert run.iter == 2


@pytest.mark.parametrize('wrap', WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize('lazy_init', [False, True])
def test_data_in_wrappers_is_looked_at(tmp_path, wrap, lazy_init):
    cfg = config(tmp_path, epochs=1, hooks=CHECK)
    folder = tmp_path / 'data'
    for name in 'abc':
        (folder / name).mkdir(parents=True)
        (folder / name / '1.jpg').write_bytes(b'')
    dataset = dict(
        type='CustomDataset',
        data_root=str(folder),
        pipeline=cfg.train_dataloader.dataset.pipeline,
        lazy_init=lazy_init,
    )
    cfg.train_dataloader.dataset = wrap(dataset)
    with pytest.raises(ValueError, match='but the training data has 3 classes'):
        Runner.from_cfg(cfg).train()


AUGMENTS = {
    'mixup': dict(type='Mixup', alpha=0.8),
    'cutmix': dict(type='CutMix', alpha=1.0),
    'resizemix': dict(type='ResizeMix', alpha=1.0),
    'both': [dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
}


def with_mixing(tmp_path, augments, num_classes, inside=False):
    cfg = config(tmp_path, epochs=1, hooks=CHECK)
    cfg.model.train_cfg = dict(augments=augments)
    cfg.data_preprocessor.num_classes = num_classes
    if inside:
        cfg.model.data_preprocessor = cfg.pop('data_preprocessor')
    return Runner.from_cfg(cfg)


@pytest.mark.parametrize('augments', AUGMENTS.values(), ids=AUGMENTS)
@pytest.mark.parametrize('num_classes', [None, 9, 1000])
def test_labels_to_be_mixed_have_the_length_of_the_head(tmp_path, augments, num_classes):
    run = with_mixing(tmp_path, augments, num_classes)
    with pytest.raises(
        ValueError, match=f'data_preprocessor.num_classes={num_classes}, .*classes=10:'
    ):
        run.train()
    assert run.iter == 0


@pytest.mark.parametrize('inside', [False, True])
def test_labels_of_the_right_length_are_mixed(tmp_path, inside):
    run = with_mixing(tmp_path, AUGMENTS['both'], 10, inside)
    run.train()
    assert run.iter == 2


def test_one_hot_labels_without_mixing(tmp_path):
    cfg = config(tmp_path, epochs=1, hooks=CHECK)
    cfg.data_preprocessor.to_onehot = True
    run = Runner.from_cfg(cfg)
    for action in (run.train, run.val, run.test):
        with pytest.raises(ValueError, match='data_preprocessor.num_classes=None'):
            action()

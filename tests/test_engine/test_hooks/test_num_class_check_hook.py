"""A head for other classes than those of the data."""

import pytest
from torch import nn

from mmdmlora.engine import NumClassCheckHook
from tests.peft_runner import runner

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

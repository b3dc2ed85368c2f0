"""Options that would change nothing are refused with those that do."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from mmdmlora.apis.compose import load_config
from mmdmlora.apis.locations import find_config
from mmdmlora.apis.option_check import check_options
from tests.peft_runner import config
from tests.test_reliability.tool import DMLORA
from tests.wrapped_data import WRAPPERS


@pytest.fixture(scope='module')
def composed():
    return load_config(DMLORA)


@pytest.fixture(scope='module')
def pets():
    return load_config(find_config('dmlora/dinov2-s14_vtab-pets'))


@pytest.mark.parametrize(
    'option, message',
    [
        ('modle.backbone.rank', r"nothing reads 'modle'. Is it model.backbone.rank\?"),
        ('qqqqqqq', 'Leave it out'),
        ('method.rank', 'Set model.backbone.rank'),
        ('num_classes', 'Set model.head.num_classes'),
        ('structured_hooks.summary', 'Set default_hooks.summary'),
        ('train_pipeline.0.scale', 'Set train_dataloader.dataset.pipeline.0.scale'),
        (
            'test_pipeline',
            'val_dataloader.dataset.pipeline, test_dataloader.dataset.pipeline together',
        ),
        ('lr', r'Set optim_wrapper.optimizer.lr\.'),
        ('max_epochs', 'Set train_cfg.max_epochs'),
    ],
)
def test_options_that_nothing_reads(composed, option, message):
    with pytest.raises(ValueError, match=message):
        check_options(composed, ['randomness.seed', option])


@pytest.mark.parametrize('option', ['task', 'benchmark'])
def test_another_task_is_another_config(pets, option):
    with pytest.raises(ValueError, match='Name another config'):
        check_options(pets, [option])


def test_names_of_a_stock_config_that_were_copied():
    backends = [dict(type='LocalVisBackend')]
    stock = Config(
        dict(
            vis_backends=backends,
            visualizer=dict(type='UniversalVisualizer', vis_backends=backends),
            data=dict(mean=[1, 2, 3], num_classes=10),
            data_preprocessor=dict(mean=[1, 2, 3], num_classes=10),
            epochs=7,
            model=dict(head=dict(num_classes=10)),
        )
    )
    for option, remedy in (
        ('vis_backends.0.type', 'Set visualizer.vis_backends.0.type.'),
        ('data.mean', 'Set data_preprocessor.mean.'),
        ('epochs', 'Change it in the file of the config.'),
        (
            'num_classes',
            'Set data_preprocessor.num_classes, model.head.num_classes together.',
        ),
    ):
        with pytest.raises(ValueError, match=rf'{re.escape(remedy)}$'):
            check_options(stock, [option])


def keys_for(cfg, option):
    with pytest.raises(ValueError) as error:
        check_options(cfg, [option])
    return (
        str(error.value)
        .rpartition('Set ')[2]
        .rstrip('.')
        .removesuffix(' together')
        .split(', ')
    )


def test_the_keys_for_input_size_train_at_that_size(composed):
    """As a config that is composed for the size."""
    keys = keys_for(composed, 'input_size')
    check_options(composed, keys)
    changed = Config(composed.to_dict())
    is_pair = {key: not key.endswith('img_size') for key in keys}
    changed.merge_from_dict({k: (44, 44) if is_pair[k] else 44 for k in keys})
    text = (
        Path(DMLORA)
        .read_text()
        .replace(
            "**tuned('dmlora', 'vit-tiny_digits')",
            "**dict(tuned('dmlora', 'vit-tiny_digits'), input_size=44, "
            'model=dict(backbone=dict(img_size=44)))',
        )
        .replace("'../", f"'{find_config(DMLORA).parent.parent}/")
    )
    expected = Config.fromstring(text, '.py')
    for name in ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert changed[name] == expected[name], name
    assert len(keys) == 4


@pytest.mark.parametrize('wrap', WRAPPERS.values(), ids=WRAPPERS)
def test_keys_lead_into_wrapped_data_sets(tmp_path, composed, wrap):
    cfg = Config(composed.to_dict())
    cfg.train_dataloader.dataset = wrap(cfg.train_dataloader.dataset)
    keys = keys_for(cfg, 'train_pipeline')
    assert keys and all('.pipeline' in key for key in keys)
    cfg.merge_from_dict(dict.fromkeys(keys, []))
    assert 'PackInputs' not in str(cfg.train_dataloader)


def test_options_that_are_read(tmp_path, composed):
    options = ['model.backbone.rank', 'custom_hooks', 'model_wrapper_cfg.type']
    check_options(composed, [*options, 'find_unused_parameters', 'weights_source'])
    check_options(config(tmp_path), ['data_preprocessor.mean', 'work_dir', 'resume'])

"""Data sets are found in wrappers, in configs and when they are built."""

import pytest
from mmengine.config import Config
from torch.utils.data import Subset

from mmdmlora.data_settings import dataset_settings, innermost_datasets
from mmdmlora.datasets import Digits
from mmdmlora.registry import DATASETS
from tests.wrapped_data import WRAPPERS

PLACES = {
    'repeat': ['.dataset'],
    'concat': ['.datasets.0', '.datasets.1'],
    'balanced': ['.dataset'],
    'fold': ['.dataset'],
    'nested': ['.dataset.datasets.0.dataset', '.dataset.datasets.1'],
}


@pytest.mark.parametrize('name', WRAPPERS)
def test_settings_and_what_is_built_from_them_are_alike(name):
    settings = WRAPPERS[name](dict(type='Digits', split='val200'))
    found = innermost_datasets(settings)
    assert [*found] == PLACES[name]
    assert {each['type'] for each in found.values()} == {'Digits'}
    built = innermost_datasets(DATASETS.build(settings))
    assert [*built] == PLACES[name]
    assert {type(each) for each in built.values()} == {Digits}


def test_what_is_no_wrapper_is_itself():
    settings = dict(type='OfTheUser', dataset='coco', datasets='all')
    assert innermost_datasets(settings) == {'': settings}
    digits = Digits('val200')
    assert innermost_datasets(Subset(digits, [0, 1])) == {'.dataset': digits}


def test_keys_reach_the_settings_in_the_config():
    inner = dict(type='Digits', split='val200')
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=WRAPPERS['nested'](inner)),
            val_dataloader=None,
            test_dataloader=dict(dataset=inner),
        )
    )
    keys = [*dataset_settings(cfg)]
    assert len(keys) == 3
    cfg.merge_from_dict({f'{key}.split': 'test' for key in keys})
    assert all(x['split'] == 'test' for x in dataset_settings(cfg).values())

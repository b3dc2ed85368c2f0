"""Which data sets of the task configs have their images in memory."""

import pytest

from mmdmlora.apis.compose import load_config
from mmdmlora.data_settings import dataset_settings
from tests.imports import ROOT

TASKS = ('vtab-dtd', 'fgvc-cub', 'fewshot-pets', 'generated-count', 'digits')


@pytest.mark.parametrize('task', TASKS)
def test_training_and_validation_sets_are_cached_and_test_sets_are_not(task):
    cfg = load_config(ROOT / f'configs/dmlora/vit-b16_{task}.py')
    cached = {place: x.get('cache') for place, x in dataset_settings(cfg).items()}
    assert cached.pop('test_dataloader.dataset') is None
    assert cached and set(cached.values()) == {'memory'}

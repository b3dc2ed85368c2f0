"""``model-index.yml``, the metafiles and the page of each method."""

import re
from inspect import signature

import pytest
import yaml
from modelindex.load_model_index import load

from mmdmlora.apis.compose import load_config
from mmdmlora.registry import MODELS
from tests.imports import ROOT
from tests.test_methods_page import COUNTS, METHODS, WHAT


def models():
    index = load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert not index.check(silent=True)
    return list(index.models)


def test_the_index_names_every_method_and_its_models_are_unique():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    files = [f'configs/{method}/metafile.yml' for method in METHODS]
    assert sorted(index['Import']) == sorted(files)
    names = [model.name for model in models()]
    assert len({*names}) == len(names) == 2 * len(METHODS)


@pytest.mark.parametrize('model', models(), ids=lambda model: model.name)
def test_a_model_is_what_its_config_says(model):
    method, experiment = re.fullmatch(r'configs/(.*)/(.*)\.py', model.config).groups()
    assert model.name == f'{method}_{experiment}'
    config = load_config(ROOT / model.config)
    assert model.metadata.data['Epochs'] == config.train_cfg.max_epochs
    assert model.metadata.data['Batch Size'] == config.train_dataloader.batch_size
    identifiers = re.findall(r'\d{4}\.\d{5}', str(model.paper))
    assert all(identifier in WHAT[method]['source'] for identifier in identifiers)
    assert model.results is None  # measured ones stand with their commands in docs


@pytest.mark.parametrize('method', METHODS)
def test_the_page_of_a_method(method):
    page = (ROOT / 'configs' / method / 'README.md').read_text()
    row = re.search(r'^\| ViT.*\n.*\n\| (.*) \|$', page, flags=re.MULTILINE)[1]
    assert row.split(' | ') == [*COUNTS[method].values()][1:]
    options = re.findall(r'^\| `(\w+)` \|', page, flags=re.MULTILINE)
    config = load_config(ROOT / f'configs/{method}/vit-b16_vtab-dtd.py')
    assert {*options} <= {*signature(MODELS.get(config.method.type)).parameters}
    given = {*config.method} - {'type', 'deep', 'learn_scale'}
    assert given <= {*options}

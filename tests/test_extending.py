"""The worked example of docs/extending.md does what the page says."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

import mmdmlora.models
import tests.tiny
from mmdmlora.registry import MODELS

PAGE = Path(__file__).parents[1] / 'docs' / 'extending.md'
BLOCKS = dict(
    re.findall(r'```python\n# (\S+)\n(.*?)```', PAGE.read_text(), flags=re.DOTALL)
)


@pytest.fixture
def example(monkeypatch):
    """The method's file, executed and registered for the time of a test."""
    monkeypatch.setattr(MODELS, '_module_dict', dict(MODELS.module_dict))
    monkeypatch.setattr(mmdmlora, 'SSFModel', None, raising=False)
    exec(BLOCKS['mmdmlora/models/methods/ssf_model.py'], {'__name__': 'ssf_model'})
    mmdmlora.SSFModel = MODELS.get('SSFModel')


def test_the_examples_test_passes_and_can_fail(example, monkeypatch):
    scope = {}
    exec(BLOCKS['tests/test_models/test_methods/test_ssf_model.py'], scope)
    test = scope['test_starts_as_the_backbone_learns_and_merges']
    test()
    layer = type(next(iter(tests.tiny.wrapped('SSFModel').adapters.values())))
    monkeypatch.setattr(layer, 'merge', lambda self: self.original)
    with pytest.raises(ValueError, match='the folded layer differs'):
        test()


def test_the_examples_config_reads(tmp_path):
    base = PAGE.parents[1] / 'configs' / '_base_'
    text = BLOCKS['configs/_base_/methods/ssf.py'].replace("'../", f"'{base}/")
    (tmp_path / 'ssf.py').write_text(text)
    config = Config.fromfile(tmp_path / 'ssf.py')
    assert config.method.type == 'mmdmlora.SSFModel'
    assert config.default_hooks.summary.type == 'SummaryHook'

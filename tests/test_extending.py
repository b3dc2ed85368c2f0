"""The worked example of docs/extending.md does what the page says."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

import mmdmlora.models
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
    exec(BLOCKS['mmdmlora/models/ssf_model.py'], {'__name__': 'ssf_model'})
    mmdmlora.SSFModel = MODELS.get('SSFModel')


def test_the_examples_test_passes_and_can_fail(example):
    scope = {}
    exec(BLOCKS['tests/test_models/test_ssf_model.py'], scope)
    test = scope['test_starts_as_the_backbone_learns_and_merges']
    test()
    broken = MODELS.get('SSFModel')
    broken._fold = lambda self, backbone: None
    with pytest.raises(RuntimeError, match='Missing key'):
        test()


def test_the_examples_config_reads(tmp_path):
    base = PAGE.parents[1] / 'configs' / '_base_'
    text = BLOCKS['configs/_base_/methods/ssf.py'].replace("'../", f"'{base}/")
    (tmp_path / 'ssf.py').write_text(text)
    config = Config.fromfile(tmp_path / 'ssf.py')
    assert config.method.type == 'mmdmlora.SSFModel'
    assert config.default_hooks.summary.type == 'SummaryHook'

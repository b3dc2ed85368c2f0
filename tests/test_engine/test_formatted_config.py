"""The text of a config."""

import copy
import pickle

import pytest
from mmengine.config import Config, config

from mmdmlora.apis.run import prepare
from mmdmlora.engine.console import build_runner
from mmdmlora.engine.formatted_config import FormattedOnce
from tests.peft_runner import config as peft_config


@pytest.fixture
def formatted(monkeypatch) -> list[str]:
    """The texts that were formatted."""
    texts = []
    original = config.FormatCode

    def counted(text, **options):
        texts.append(text)
        return original(text, **options)

    monkeypatch.setattr(config, 'FormatCode', counted)
    return texts


def test_a_run_formats_its_config_once(tmp_path, formatted):
    runner = build_runner(prepare(peft_config(tmp_path, epochs=2)))
    runner.train()
    assert len(formatted) == 1
    assert runner.cfg.pretty_text == Config(runner.cfg.to_dict()).pretty_text


def test_a_change_is_seen(formatted):
    plain = Config(dict(model=dict(depth=2), names=['a']))
    once = FormattedOnce.of(plain)
    assert once.pretty_text == plain.pretty_text
    for change in (
        lambda: once.model.update(depth=3),
        lambda: once.names.append('b'),
        lambda: once.merge_from_dict({'model.width': 4}),
    ):
        change()
        assert once.pretty_text == Config(once.to_dict()).pretty_text
    del formatted[:]
    assert once.pretty_text == once.dump() and not formatted
    for copied in (
        copy.deepcopy(once),
        copy.copy(once),
        pickle.loads(pickle.dumps(once)),
    ):
        assert type(copied) is FormattedOnce
        assert copied.pretty_text == once.pretty_text

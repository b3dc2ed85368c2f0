"""Settings of every test."""

import gc
from uuid import uuid4

import pytest
import torch
from mmengine.config import config as mmengine_config
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True, scope='session')
def one_thread():
    """Tiny models are slower with more threads, above all on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope='session')
def short_collections():
    """mmengine collects garbage for each data set: not what was imported, each time."""
    gc.freeze()


@pytest.fixture(autouse=True, scope='session')
def texts_formatted_once():
    """A Runner writes the text of its config into each checkpoint, formatted anew."""
    formatted = {}
    format_code = mmengine_config.FormatCode

    def cached(text, **options):
        key = text, str(options)
        if key not in formatted:
            formatted.clear()  # the next run has another one
            formatted[key] = format_code(text, **options)
        return formatted[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmengine_config, 'FormatCode', cached)
        yield


@pytest.fixture(autouse=True)
def own_scope():
    """A Runner leaves its default scope behind, in which the next test would build."""
    DefaultScope.get_instance(uuid4().hex, scope_name='mmdmlora')


def pytest_collection_modifyitems(config, items):
    wants_slow = 'slow' in config.getoption('markexpr')
    for item in items:
        if item.get_closest_marker('slow') and not wants_slow:
            item.add_marker(pytest.mark.skip(reason='takes minutes: run with -m slow'))
        if item.get_closest_marker('gpu') and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason='needs a CUDA device'))

"""Settings of every test."""

from types import SimpleNamespace
from uuid import uuid4

import pytest
import torch
from mmengine.config import config
from mmengine.dataset import base_dataset
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True, scope='session')
def one_thread():
    """Tiny models are slower with more threads, above all on a busy machine.

    Processes that a test starts have one, too: sums of more threads differ.
    """
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('OMP_NUM_THREADS', '1')
        yield


@pytest.fixture(autouse=True, scope='session')
def quick_mmengine():
    """Leave out what mmengine repeats and no test is about.

    It collects the garbage of the whole process for each data set, and formats the text
    of a run's config for each checkpoint.
    """
    formatted = {}
    format_code = config.FormatCode

    def format_once(text, **options):
        key = text, str(options)
        if key not in formatted:
            formatted.clear()  # the next run has another one
            formatted[key] = format_code(text, **options)
        return formatted[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base_dataset, 'gc', SimpleNamespace(collect=lambda: 0))
        patch.setattr(config, 'FormatCode', format_once)
        yield


@pytest.fixture(autouse=True)
def own_scope():
    """A Runner leaves its default scope behind, in which the next test would build."""
    DefaultScope.get_instance(uuid4().hex, scope_name='mmdmlora')


def pytest_collection_modifyitems(session, items):
    wants_slow = 'slow' in session.config.getoption('markexpr')
    for item in items:
        if item.get_closest_marker('slow') and not wants_slow:
            item.add_marker(pytest.mark.skip(reason='takes minutes: run with -m slow'))
        if item.get_closest_marker('gpu') and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason='needs a CUDA device'))

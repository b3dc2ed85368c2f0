"""Settings of every test."""

import pytest
import torch


@pytest.fixture(autouse=True, scope='session')
def one_thread():
    """Tiny models are slower with more threads, above all on a busy machine."""
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker('gpu') and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason='needs a CUDA device'))

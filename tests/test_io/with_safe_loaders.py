"""Safe loaders for the whole process, for as long as a block lasts."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from mmengine.runner import CheckpointLoader

from mmdmlora.io import install_safe_loaders


@contextmanager
def safe_loaders_installed() -> Iterator[None]:
    """Call ``install_safe_loaders``, and give mmengine its own loaders back after."""
    own = dict(CheckpointLoader._schemes)
    with mock.patch.object(CheckpointLoader, '_schemes', own):
        install_safe_loaders()
        yield

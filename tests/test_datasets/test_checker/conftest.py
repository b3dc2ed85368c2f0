"""An empty folder for data sets, and an image for them to link to."""

import pytest

from tests.linked_trees import one_jpeg


@pytest.fixture
def source(tmp_path):
    return one_jpeg(tmp_path / 'source' / 'a.jpg')


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'root').mkdir()
    return tmp_path / 'root'

"""What the garbage collector passes over while a run is on."""

import gc
import weakref

import pytest

from mmdmlora.engine.garbage import existing_objects_frozen


class Cycle:
    """What only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def nothing_is_frozen():
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_older_objects_are_passed_over_until_the_end():
    older = weakref.ref(Cycle())
    with existing_objects_frozen():
        newer = weakref.ref(Cycle())
        gc.collect()
        assert newer() is None
        assert older() is not None
    gc.collect()
    assert older() is None


def test_what_the_process_has_frozen_stays_so():
    gc.freeze()
    older = weakref.ref(Cycle())
    with existing_objects_frozen(), existing_objects_frozen():
        pass
    assert gc.get_freeze_count()
    gc.collect()
    assert older() is not None


def test_an_error_ends_it():
    with pytest.raises(KeyError), existing_objects_frozen():
        raise KeyError
    assert not gc.get_freeze_count()

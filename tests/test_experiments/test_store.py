"""Results stay, once."""

import pytest

from mmdmlora.experiments.runs import Run
from mmdmlora.experiments.store import Store

RUN = Run('lora/vit-tiny_digits')


def test_results_outlive_the_process_and_are_kept_once(tmp_path):
    store = Store(tmp_path / 'a' / 'x.sqlite')
    assert store.get(RUN) is None
    store.add(RUN, dict(accuracy=50.0, scales={'a.q': 1.0}))
    store.add(RUN, dict(accuracy=60.0))
    again = Store(tmp_path / 'a' / 'x.sqlite')
    assert again.get(RUN) == dict(accuracy=50.0, scales={'a.q': 1.0})
    assert again.records() == [again.get(RUN)]


def test_another_file_is_refused_and_left_alone(tmp_path):
    file = tmp_path / 'x.sqlite'
    file.write_bytes(b'no database, but long enough to be taken for one' * 9)
    with pytest.raises(ValueError, match='can not be used as a store'):
        Store(file)
    assert file.read_bytes().startswith(b'no database')


def test_results_of_another_machine_are_taken_once(tmp_path):
    store, other = (Store(tmp_path / name / 'results.sqlite') for name in 'ab')
    store.add(RUN, dict(accuracy=50.0))
    other.add(RUN, dict(accuracy=60.0))
    second = Run('lora/vit-tiny_digits', seed=1)
    other.add(second, dict(accuracy=70.0))
    assert [store.add_from(other.path) for _ in range(2)] == [1, 0]
    assert store.get(RUN) == dict(accuracy=50.0)
    assert store.get(second) == dict(accuracy=70.0)


def test_only_stores_are_taken(tmp_path):
    store = Store(tmp_path / 'results.sqlite')
    (tmp_path / 'x.sqlite').write_bytes(b'no database, but long enough for one' * 9)
    for name in ('x.sqlite', 'missing.sqlite'):
        with pytest.raises(ValueError, match=f'{name} is no store'):
            store.add_from(tmp_path / name)
    assert not (tmp_path / 'missing.sqlite').exists()

"""Looking for damaged files, many at a time."""

from mmdmlora.datasets.images.faults import CHUNK, find_faults


def test_faults_of_many_files_are_named_in_their_order():
    paths = [str(number) for number in range(2 * CHUNK + 3)]
    steps = []
    faults = find_faults(
        paths,
        lambda path: 'ends with 7' if path.endswith('7') else None,
        lambda *step: steps.append(step),
    )
    assert list(faults) == [path for path in paths if path.endswith('7')]
    assert set(faults.values()) == {'ends with 7'}
    assert steps[-1] == (len(paths), len(paths)) and len(steps) == 3
    assert find_faults([], str) == {}

"""The drawn images that a task keeps in files."""

import numpy as np
import pytest

from mmdmlora.datasets.drawn.cache import read_cache
from mmdmlora.datasets.drawn.generated_task import GENERATED_TASKS, GeneratedTask


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_cache_is_written_once_and_read(tmp_path, monkeypatch):
    folder = tmp_path / 'new' / 'cache'
    GeneratedTask('count', 'val200', cache_dir=str(folder))
    assert files_in(folder) == ['count_val200_seed0_v1.npz']

    def never(numbers, seed):
        raise AssertionError('drawn again')

    draw, classes = GENERATED_TASKS['count']
    monkeypatch.setitem(GENERATED_TASKS, 'count', (never, classes))
    dataset = GeneratedTask('count', 'val200', cache_dir=str(folder))
    np.testing.assert_array_equal(dataset[9]['img'][..., ::-1], draw([809], 0)[0][0])
    with pytest.raises(AssertionError, match='drawn again'):
        GeneratedTask('count', 'val200', seed=1, cache_dir=str(folder))


@pytest.mark.parametrize('damage', ['empty', 'cut', 'flipped', 'text', 'shape', 'labels'])
def test_damaged_cache_is_drawn_again(tmp_path, damage):
    GeneratedTask('dsprites-loc', 'val200', cache_dir=tmp_path)
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    with np.load(file) as arrays:
        images, labels = arrays['images'], arrays['labels']
    if damage == 'shape':
        np.savez(file, images=images[:10], labels=labels)
    elif damage == 'labels':
        np.savez(file, images=images, labels=labels + 16)
    else:
        data[len(data) // 2] ^= 255
        broken = {'empty': b'', 'cut': data[:-200], 'flipped': data, 'text': b'no'}
        file.write_bytes(broken[damage])
    dataset = GeneratedTask('dsprites-loc', 'val200', cache_dir=tmp_path)
    images = np.stack([sample['img'] for sample in dataset])
    draw, _ = GENERATED_TASKS['dsprites-loc']
    drawn, labels = draw(range(800, 1000), 0)
    np.testing.assert_array_equal(images, drawn)
    np.testing.assert_array_equal(dataset.get_gt_labels(), labels)
    assert read_cache(file, 200, 16) is not None
    assert files_in(tmp_path) == [file.name]


def test_pickles_are_never_loaded(tmp_path):
    file = tmp_path / 'a.npz'
    np.savez(file, images=np.array([{}], dtype=object), labels=np.zeros(1, int))
    assert read_cache(file, 1, 2) is None

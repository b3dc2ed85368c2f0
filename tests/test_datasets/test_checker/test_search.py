"""Finding tasks on disk."""

import pytest

from mmdmlora.datasets.checker import find_tasks
from mmdmlora.datasets.checker.layouts import LAYOUTS
from tests.linked_trees import fewshot_pets, kitti


@pytest.mark.parametrize('parent', ['.', 'vtab-1k', 'vtab', 'data', 'data/vtab-1k'])
def test_places_of_vtab(root, source, parent):
    kitti(root / parent, source)
    (found,) = find_tasks(root)
    assert (found.layout.benchmark, found.task.folder) == ('VTAB-1k', 'kitti')
    assert found.parent == str((root / parent).resolve())


def test_aliases_are_found(root, source):
    kitti(root, source, 'clevr_distance')
    (found,) = find_tasks(root)
    assert found.task.folder == 'clevr_dist'


def test_a_linked_parent_is_checked_once(root, source):
    kitti(root / 'vtab-1k', source)
    (root / 'vtab').symlink_to('vtab-1k')
    assert len(find_tasks(root)) == 1


def test_folders_of_other_data_sets_are_left_alone(root, source):
    """NOAH's few-shot Flowers has the folder name of VTAB's."""
    folder = fewshot_pets(root, source)
    folder.rename(root / 'oxford_flowers102')
    (root / 'eurosat' / 'Forest').mkdir(parents=True)
    (found,) = find_tasks(root)
    assert found.layout.benchmark == 'few-shot'


def test_nothing_found(root):
    with pytest.raises(ValueError, match='no benchmark lies under') as error:
        find_tasks(root)
    for layout in LAYOUTS:
        assert layout.source in str(error.value)
    with pytest.raises(ValueError, match='is not a folder'):
        find_tasks(root / 'none')


def test_the_folder_of_one_task_is_sent_upwards(root, source):
    with pytest.raises(ValueError, match=f'single task of VTAB-1k.*{str(root)!r}'):
        find_tasks(kitti(root, source))

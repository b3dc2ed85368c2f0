"""The table of tasks against the paper and against the folders that users have."""

import pickle
from dataclasses import FrozenInstanceError

import pytest

from mmdmlora.datasets import VTAB_TASKS, vtab_task

# Table 8 of the paper's supplement: group, title, classes, test images.
PAPER = """
Natural      CIFAR-100              100  10,000
Natural      Caltech101             102   6,084
Natural      DTD                     47   1,880
Natural      Flowers102             102   6,149
Natural      Pets                    37   3,669
Natural      SVHN                    10  26,032
Natural      Sun397                 397  21,750
Specialized  Patch-Camelyon           2  32,768
Specialized  EuroSAT                 10   5,400
Specialized  Resisc45                45   6,300
Specialized  Retinopathy              5  42,670
Structured   Clevr/count              8  15,000
Structured   Clevr/distance           6  15,000
Structured   DMLab                    6  22,735
Structured   KITTI/distance           4     711
Structured   dSprites/location       16  73,728
Structured   dSprites/orientation    16  73,728
Structured   SmallNORB/azimuth       18  12,150
Structured   SmallNORB/elevation      9  12,150
"""

# Canonical folder: the other names of that folder which archives and code use.
FOLDERS = {
    'cifar': ['cifar100'],
    'caltech101': [],
    'dtd': [],
    'oxford_flowers102': ['flowers102'],
    'oxford_iiit_pet': ['oxford_pet', 'pets', 'pet'],
    'svhn': [],
    'sun397': [],
    'patch_camelyon': ['camelyon'],
    'eurosat': [],
    'resisc45': [],
    'diabetic_retinopathy': ['retinopathy'],
    'clevr_count': [],
    'clevr_dist': ['clevr_distance'],
    'dmlab': [],
    'kitti': [],
    'dsprites_loc': ['dsprites_position'],
    'dsprites_ori': ['dsprites_orientation'],
    'smallnorb_azi': ['smallnorb_azimuth'],
    'smallnorb_ele': ['smallnorb_elevation'],
}


def test_table_equals_the_paper():
    rows = [line.split() for line in PAPER.strip().splitlines()]
    assert len(rows) == len(VTAB_TASKS) == 19
    for task, (group, title, classes, test) in zip(VTAB_TASKS, rows, strict=True):
        assert task.group == group, title
        assert task.num_classes == int(classes), title
        assert task.num_images == {
            'train800': 800,
            'val200': 200,
            'train800val200': 1000,
            'test': int(test.replace(',', '')),
        }, title


def test_totals_equal_the_paper():
    groups = [task.group for task in VTAB_TASKS]
    assert [groups.count(group) for group in sorted(set(groups))] == [7, 4, 8]
    assert sum(task.num_classes for task in VTAB_TASKS) == 940
    assert sum(task.num_images['test'] for task in VTAB_TASKS) == 387_904


def test_folders_are_those_on_disk():
    assert {task.folder: list(task.aliases) for task in VTAB_TASKS} == FOLDERS


def test_names_are_unique_and_fit_file_names():
    names = [task.name for task in VTAB_TASKS]
    assert len(set(names)) == 19
    for name in names:
        assert name.replace('-', '').isalnum() and name.islower()
    folders = [folder for task in VTAB_TASKS for folder in task.folders]
    assert len(set(folders)) == len(folders) == 31


@pytest.mark.parametrize('task', VTAB_TASKS, ids=lambda task: task.name)
def test_every_name_finds_its_task(task):
    for name in (task.name, task.folder, *FOLDERS[task.folder]):
        assert vtab_task(name) is task
        assert vtab_task(name.upper()) is task
        assert vtab_task(name.replace('_', '-')) is task
        assert vtab_task(name.replace('-', '_')) is task


@pytest.mark.parametrize(
    'wrong, nearest',
    [('clevr_cuont', 'clevr_count'), ('Flowers-101', 'oxford_flowers102')],
)
def test_unknown_name_is_refused_with_the_nearest(wrong, nearest):
    with pytest.raises(ValueError) as error:
        vtab_task(wrong)
    assert repr(wrong) in str(error.value)
    assert f'Did you mean {nearest!r}?' in str(error.value)
    for folder in FOLDERS:
        assert folder in str(error.value)


@pytest.mark.parametrize('wrong', ['', None, 7, 'xyzzy'])
def test_unlike_name_is_refused_without_a_guess(wrong):
    with pytest.raises(ValueError, match='no task') as error:
        vtab_task(wrong)
    assert 'Did you mean' not in str(error.value)


def test_tasks_are_constant_hashable_and_picklable():
    task = vtab_task('dtd')
    with pytest.raises(FrozenInstanceError):
        task.num_classes = 3
    assert len(set(VTAB_TASKS)) == 19
    assert pickle.loads(pickle.dumps(task)) == task

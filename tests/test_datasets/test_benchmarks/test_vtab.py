"""VTAB1k on generated trees, whose images say which split and class they are of."""

import logging
import pickle
import shutil

import pytest
import torch
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS as MMPRETRAIN_DATASETS
from torch.utils.data import DataLoader

from mmdmlora.datasets import VTAB_TASKS, VTAB1k
from mmdmlora.registry import DATASETS
from tests.trees import VTAB_SPLITS, decode, label_of, make_vtab_task

PIPELINE = [
    {'type': 'LoadImageFromFile'},
    {'type': 'Resize', 'scale': (16, 16), 'backend': 'pillow'},
    {'type': 'PackInputs'},
]


@pytest.fixture
def dtd(tmp_path):
    """A task's folder; its parent is the data root."""
    return make_vtab_task(tmp_path, 'dtd', 47)


def edit(list_file, line, text):
    """Replace a line, counted from 1."""
    lines = list_file.read_text().splitlines()
    lines[line - 1] = text
    list_file.write_text('\n'.join(lines) + '\n')


def refusal(root, task='dtd', split='train800', **kwargs):
    """The message of the ValueError that building the data set raises."""
    with pytest.raises(ValueError) as error:
        VTAB1k(str(root), task, split, **kwargs)
    return str(error.value)


# Reading


@pytest.mark.parametrize('task', VTAB_TASKS, ids=lambda task: task.name)
def test_every_task_and_split_is_read(tmp_path, task):
    counts = {'train800': 5, 'val200': 3, 'train800val200': 8, 'test': 6}
    make_vtab_task(tmp_path, task.folder, task.num_classes, counts)
    for split, count in counts.items():
        dataset = VTAB1k(str(tmp_path), task.name, split)
        assert len(dataset) == count
        for i in range(count):
            info = dataset.get_data_info(i)
            assert info['gt_label'] == label_of(split, i, task.num_classes)
            assert decode(info['img_path']) == (split, info['gt_label'])
            assert info['img_path'].endswith(f'images/{split}/{i:06d}.jpg')


@pytest.mark.parametrize(
    'task, folder', [(task, name) for task in VTAB_TASKS for name in task.aliases]
)
def test_every_alias_is_found_on_disk(tmp_path, task, folder):
    make_vtab_task(tmp_path, folder, task.num_classes)
    dataset = VTAB1k(str(tmp_path), task.folder, 'val200')
    assert dataset[0]['img_path'].startswith(f'{tmp_path}/{folder}/')


def test_canonical_folder_wins_over_an_alias(tmp_path):
    make_vtab_task(tmp_path, 'cifar100', 100)
    make_vtab_task(tmp_path, 'cifar', 100)
    dataset = VTAB1k(tmp_path, 'cifar100', 'test')
    assert dataset[0]['img_path'].startswith(f'{tmp_path}/cifar/')


def test_classes_come_from_the_table_not_from_the_list(dtd):
    dataset = VTAB1k(str(dtd.parent), 'dtd', 'train800')
    assert dataset.metainfo['classes'] == tuple(str(i) for i in range(47))
    assert dataset.metainfo['task'] == 'dtd'
    assert dataset.metainfo['benchmark'] == 'VTAB-1k'


def test_class_names_may_be_given(dtd):
    names = [f'texture {i}' for i in range(47)]
    dataset = VTAB1k(str(dtd.parent), 'dtd', 'test', classes=names)
    assert dataset.metainfo['classes'] == tuple(names)
    assert '47 classes' in refusal(dtd.parent, classes=names[1:])


def test_windows_line_ends_blank_lines_and_spaces_in_names(dtd):
    (dtd / 'images/train800/000001.jpg').rename(dtd / 'images/train800/a b.jpg')
    (dtd / 'train800.txt').write_bytes(
        b'\xef\xbb\xbfimages/train800/000000.jpg 3\r\n'
        b'images/train800/a b.jpg 46\r\n\r\n   \r\n'
    )
    dataset = VTAB1k(str(dtd.parent), 'dtd', 'train800')
    assert [dataset[i]['gt_label'] for i in range(2)] == [3, 46]
    assert dataset[1]['img_path'].endswith('/a b.jpg')
    assert len(dataset) == 2


def test_paths_may_go_up_inside_the_task(dtd):
    edit(dtd / 'train800.txt', 1, 'images/val200/../train800/000000.jpg 1')
    dataset = VTAB1k(str(dtd.parent), 'dtd', 'train800')
    assert decode(dataset[0]['img_path'])[0] == 'train800'


def test_relative_and_home_roots(dtd, monkeypatch):
    monkeypatch.chdir(dtd.parent.parent)
    monkeypatch.setenv('HOME', str(dtd.parent))
    for root in (dtd.parent.name, '~'):
        assert len(VTAB1k(root, 'dtd', 'test', PIPELINE)[0]['inputs']) == 3


def test_count_unlike_the_paper_is_a_warning(tmp_path, monkeypatch):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    monkeypatch.setattr(MMLogger.get_current_instance(), 'handlers', [handler])
    make_vtab_task(tmp_path, 'kitti', 4, {'val200': 199, 'test': 711})
    VTAB1k(str(tmp_path), 'kitti', 'test')
    assert not records
    VTAB1k(str(tmp_path), 'kitti', 'val200')
    (record,) = records
    assert record.levelno == logging.WARNING
    assert '199' in record.getMessage() and '200' in record.getMessage()


# What a BaseDataset does


def test_pipeline_loads_the_image_of_the_label(dtd):
    dataset = VTAB1k(str(dtd.parent), 'dtd', 'val200', PIPELINE, test_mode=True)
    packed = dataset[2]
    label = label_of('val200', 2, 47)
    assert packed['inputs'].shape == (3, 16, 16)
    assert packed['data_samples'].gt_label.item() == label
    blue, green, red = packed['inputs'][:, 8, 8].tolist()
    assert (blue // 60, 20 * (red // 12) + green // 12) == (1, label)


def test_building_from_any_scope(dtd):
    config = {
        'type': 'mmdmlora.VTAB1k',
        'data_root': str(dtd.parent),
        'task': 'dtd',
        'split': 'test',
        'pipeline': PIPELINE,
    }
    assert len(MMPRETRAIN_DATASETS.build(config)) == 4
    with DefaultScope.overwrite_default_scope('mmdmlora'):
        assert len(DATASETS.build({**config, 'type': 'VTAB1k'})) == 4


def test_lazy_init_reads_nothing_until_asked(tmp_path):
    dataset = VTAB1k(str(tmp_path), 'dtd', 'train800', lazy_init=True)
    assert len(dataset.metainfo['classes']) == 47
    make_vtab_task(tmp_path, 'dtd', 47)
    dataset.full_init()
    assert len(dataset) == 4


@pytest.mark.parametrize('serialize', [True, False])
def test_indices_and_pickling(dtd, serialize):
    dataset = VTAB1k(
        str(dtd.parent), 'dtd', 'train800', indices=3, serialize_data=serialize
    )
    copy = pickle.loads(pickle.dumps(dataset))
    assert len(copy) == 3
    assert copy.metainfo == dataset.metainfo
    assert [copy[i] for i in range(3)] == [dataset[i] for i in range(3)]


def test_workers_deliver_every_sample_once(dtd):
    dataset = VTAB1k(str(dtd.parent), 'dtd', 'train800', PIPELINE)
    loader = DataLoader(
        dataset,
        batch_size=2,
        num_workers=1,
        sampler=DefaultSampler(dataset, shuffle=True, seed=0),
        collate_fn=pseudo_collate,
        multiprocessing_context='spawn',
    )
    labels = [s.gt_label for batch in loader for s in batch['data_samples']]
    expected = [label_of('train800', i, 47) for i in range(4)]
    assert sorted(torch.cat(labels).tolist()) == sorted(expected)


def test_repr_names_task_and_split(dtd):
    text = repr(VTAB1k(str(dtd.parent), 'dtd', 'test'))
    assert 'dtd (Natural)' in text and 'Split: \ttest' in text


# What is refused


@pytest.mark.parametrize('split', ['train', 'TEST', '', None])
def test_unknown_split(dtd, split):
    message = refusal(dtd.parent, split=split)
    assert repr(split) in message
    assert all(known in message for known in VTAB_SPLITS)


def test_unknown_task(dtd):
    assert "'ddt'" in refusal(dtd.parent, task='ddt')


@pytest.mark.parametrize(
    'line', ['images/train800/000001.jpg', '7', 'images/train800/000001.jpg,7']
)
def test_malformed_line(dtd, line):
    edit(dtd / 'train800.txt', 2, line)
    message = refusal(dtd.parent)
    assert f'{dtd}/train800.txt, line 2: expected' in message
    assert repr(line) in message


@pytest.mark.parametrize('label', ['47', '-1', '3.0', '1e1', 'x', '٣', '²'])
def test_label_out_of_range(dtd, label):
    edit(dtd / 'train800.txt', 3, f'images/train800/000002.jpg {label}')
    message = refusal(dtd.parent)
    shown = label if label == '47' else repr(label)
    assert f'{dtd}/train800.txt, line 3: the label {shown}' in message
    assert 'from 0 to 46' in message


def test_missing_image(dtd):
    (dtd / 'images/train800/000003.jpg').unlink()
    message = refusal(dtd.parent)
    assert f'{dtd}/train800.txt, line 4' in message
    assert "'images/train800/000003.jpg'" in message
    shutil.rmtree(dtd / 'images')
    assert 'line 1: the image' in refusal(dtd.parent)


def test_folder_or_dead_link_is_no_image(dtd):
    image = dtd / 'images/train800/000000.jpg'
    image.unlink()
    image.symlink_to(dtd / 'nowhere')
    assert 'line 1: the image' in refusal(dtd.parent)
    image.unlink()
    image.mkdir()
    assert 'line 1: the image' in refusal(dtd.parent)


def test_path_outside_the_task(dtd):
    make_vtab_task(dtd.parent, 'svhn', 10)
    for path in (
        '../svhn/images/train800/000000.jpg',
        'images/../../svhn/images/train800/000000.jpg',
        f'{dtd}/images/train800/000000.jpg',
    ):
        edit(dtd / 'train800.txt', 1, f'{path} 1')
        message = refusal(dtd.parent)
        assert 'line 1' in message and repr(path) in message and 'leaves' in message


def test_missing_and_empty_lists(dtd):
    (dtd / 'train800.txt').write_text('\n\n')
    assert f"'{dtd}/train800.txt' is empty" in refusal(dtd.parent)
    (dtd / 'train800.txt').unlink()
    assert f"'{dtd}/train800.txt' does not exist" in refusal(dtd.parent)


def test_roots_that_do_not_exist(tmp_path):
    for root in (tmp_path / 'nowhere', ''):
        message = refusal(root)
        assert f'{str(root)!r} is not a folder' in message
        assert 'archive' in message and 'images/<split>/000000.jpg' in message


def test_root_without_the_task(tmp_path):
    assert 'holds no folders' in refusal(tmp_path)
    make_vtab_task(tmp_path, 'svhn', 10)
    message = refusal(tmp_path, task='pets')
    assert 'oxford_iiit_pet or oxford_pet or pets or pet' in message
    assert 'holds svhn' in message and 'archive' in message


@pytest.mark.parametrize('parent', ['vtab-1k', 'data', 'vtab'])
def test_root_above_the_right_one(tmp_path, parent):
    make_vtab_task(tmp_path / parent, 'flowers102', 102)
    message = refusal(tmp_path, task='oxford_flowers102')
    assert f"Pass '{tmp_path / parent}' as data_root" in message


def test_folder_of_the_task_itself_as_root(dtd):
    assert 'Pass the folder above it as data_root' in refusal(dtd)

"""FGVC on generated trees, in VPT's layout and in those of the authors."""

import json
import pickle

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS as MMPRETRAIN_DATASETS
from scipy.io import savemat

from mmdmlora.datasets import FGVC, FGVC_TASKS, fgvc_task
from mmdmlora.registry import DATASETS
from tests.fgvc_trees import (
    bird_set,
    car_set,
    dog_set,
    flower_set,
    json_set,
    label_in,
    plan,
    save_struct,
)

# Table 8 of the paper's supplement: classes, images in train, val and test.
PAPER = {
    'cub': (200, 5394, 600, 5794),
    'nabirds': (555, 21536, 2393, 24633),
    'flowers': (102, 1020, 1020, 6149),
    'dogs': (120, 10800, 1200, 8580),
    'cars': (196, 7329, 815, 8041),
}
FOLDERS = {
    'cub': ['CUB_200_2011'],
    'nabirds': ['nabirds'],
    'flowers': ['OxfordFlowers', 'OxfordFlower'],
    'dogs': ['StanfordDogs', 'Stanford-dogs'],
    'cars': ['StanfordCars', 'Stanford-cars'],
}
JSON_IMAGES = {'cub': 'images', 'nabirds': 'images', 'dogs': 'Images'}
BIRD_IDS = [295 + number + number // 4 for number in range(555)]


def ids_of(name):
    """The ids that VPT's lists have, in their type."""
    if name == 'cub':
        return [f'{number:03d}' for number in range(1, 201)]
    return BIRD_IDS if name == 'nabirds' else list(range(1, PAPER[name][0] + 1))


def make_json(root, name, folder=None, **counts):
    labels = plan(PAPER[name][0], **(counts or {'train': 1, 'val': 1, 'test': 1}))
    folder = root / (folder or FOLDERS[name][0])
    return folder, json_set(folder, JSON_IMAGES.get(name, ''), ids_of(name), labels)


def labels_of(dataset):
    """The labels, after a check against the pixels of each image."""
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    for info in infos:
        assert label_in(info['img_path']) == info['gt_label'], info
    return [info['gt_label'] for info in infos]


def paths_of(dataset):
    return [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]


def refusal(root, name, split='train', **kwargs):
    with pytest.raises(ValueError) as error:
        FGVC(str(root), name, split, **kwargs)
    return str(error.value)


def test_table_equals_the_paper():
    assert [task.name for task in FGVC_TASKS] == list(PAPER)
    for task in FGVC_TASKS:
        classes, train, val, test = PAPER[task.name]
        assert task.num_classes == classes
        assert task.num_images == dict(
            train=train, val=val, trainval=train + val, test=test
        )
        for folder in FOLDERS[task.name]:
            assert folder in task.folders
            assert fgvc_task(folder) is task


# VPT's lists


@pytest.mark.parametrize('name', PAPER)
def test_json_lists(tmp_path, name):
    _, lists = make_json(tmp_path, name)
    ids = ids_of(name)
    for split, listed in lists.items():
        dataset = FGVC(str(tmp_path), name, split)
        assert labels_of(dataset) == [ids.index(i) for i in listed.values()]
        for path, given in zip(paths_of(dataset), listed, strict=True):
            assert path.endswith(given)


@pytest.mark.parametrize('name', ['flowers', 'dogs', 'cars'])
def test_aliases_on_disk(tmp_path, name):
    make_json(tmp_path, name, FOLDERS[name][1])
    assert len(FGVC(str(tmp_path), FOLDERS[name][0], 'val')) == PAPER[name][0]


def test_ids_are_ranked_in_train_alone(tmp_path):
    """VPT ranks NABirds' validation ids by themselves, and two of them are missing."""
    folder, lists = make_json(tmp_path, 'nabirds')
    gaps = (BIRD_IDS[100], BIRD_IDS[400])
    val = {path: i for path, i in lists['val'].items() if i not in gaps}
    assert len(val) == 553
    (folder / 'val.json').write_text(json.dumps(val))
    labels = labels_of(FGVC(str(tmp_path), 'nabirds', 'val'))
    assert labels == [BIRD_IDS.index(i) for i in val.values()]
    own_ranks = sorted(set(val.values()))
    assert labels != [own_ranks.index(i) for i in val.values()]


def test_text_and_integer_ids_are_the_same(tmp_path):
    folder, lists = make_json(tmp_path, 'cub')
    as_integers = {path: int(i) for path, i in lists['test'].items()}
    (folder / 'test.json').write_text(json.dumps(as_integers))
    labels = labels_of(FGVC(str(tmp_path), 'cub', 'test'))
    assert labels == [int(i) - 1 for i in lists['test'].values()]


def test_integer_like_text_is_ranked_by_number(tmp_path):
    folder, lists = make_json(tmp_path, 'dogs')
    for split, listed in lists.items():
        as_text = {path: str(i) for path, i in listed.items()}
        (folder / f'{split}.json').write_text(json.dumps(as_text))
    labels_of(FGVC(str(tmp_path), 'dogs', 'test'))


def test_trainval_is_train_and_val(tmp_path):
    make_json(tmp_path, 'flowers')
    parts = [paths_of(FGVC(str(tmp_path), 'flowers', s)) for s in ('train', 'val')]
    assert paths_of(FGVC(str(tmp_path), 'flowers', 'trainval')) == parts[0] + parts[1]


def test_json_wins_over_the_authors_files(tmp_path):
    folder, lists = make_json(tmp_path, 'flowers')
    flower_set(folder, plan(102, train=2, val=2, test=2))
    assert len(FGVC(str(tmp_path), 'flowers', 'train')) == len(lists['train'])


def test_keys_of_kaggles_doubled_folder(tmp_path):
    """The list and the disk may each have cars_train/cars_train or cars_train."""
    folder, lists = make_json(tmp_path, 'cars')
    for number, (key, on_disk) in enumerate(
        [('a/a/1.jpg', 'a/1.jpg'), ('b/1.jpg', 'b/b/1.jpg'), ('c/c/1.jpg', 'c/c/1.jpg')]
    ):
        old = list(lists['train'])[number]
        id_ = lists['train'].pop(old)
        (folder / on_disk).parent.mkdir(parents=True)
        (folder / old).rename(folder / on_disk)
        lists['train'] = {key: id_, **lists['train']}
    (folder / 'train.json').write_text(json.dumps(lists['train']))
    labels_of(FGVC(str(tmp_path), 'cars', 'train'))


# The authors' files


@pytest.mark.parametrize('name', ['cub', 'nabirds'])
def test_birds(tmp_path, name):
    ids = BIRD_IDS if name == 'nabirds' else list(range(1, 201))
    counts = PAPER[name]
    bird_set(
        tmp_path / FOLDERS[name][0],
        ids,
        plan(len(ids), train=3, test=1),
        uuids=name == 'nabirds',
    )
    splits = {s: FGVC(str(tmp_path), name, s) for s in ('train', 'val', 'test')}
    assert sorted(labels_of(splits['test'])) == list(range(len(ids)))
    assert set(labels_of(splits['train'])) == set(range(len(ids)))
    labels_of(splits['val'])
    num_val = 3 * len(ids) * counts[2] / (counts[1] + counts[2])
    assert abs(len(splits['val']) - num_val) <= 0.5
    assert not set(paths_of(splits['train'])) & set(paths_of(splits['val']))
    assert len(splits['train']) + len(splits['val']) == 3 * len(ids)
    assert len(FGVC(str(tmp_path), name, 'trainval')) == 3 * len(ids)
    assert paths_of(FGVC(str(tmp_path), name, 'val')) == paths_of(splits['val'])


@pytest.mark.parametrize('name', ['cub', 'nabirds', 'dogs', 'cars'])
def test_a_whole_set_is_split_with_the_papers_counts(name, monkeypatch):
    from mmdmlora.datasets.benchmarks import fgvc_author_files
    from mmdmlora.datasets.benchmarks.image_list import Entry

    classes, train, val, _ = PAPER[name]
    pool = [Entry(f'{i}.jpg', i % classes, '') for i in range(train + val)]
    monkeypatch.setitem(fgvc_author_files.READERS, name, lambda folder: {'train': pool})
    splits = fgvc_author_files.read_author_files(fgvc_task(name), 'unused')
    assert (len(splits['train']), len(splits['val'])) == (train, val)
    assert sorted([*splits['train'], *splits['val']]) == sorted(pool)


def test_flowers_have_a_validation_split(tmp_path):
    labels = plan(102, train=1, val=1, test=2)
    flower_set(tmp_path / 'OxfordFlowers', labels)
    for split, expected in labels.items():
        assert labels_of(FGVC(str(tmp_path), 'flowers', split)) == expected


def test_dogs(tmp_path):
    labels = plan(120, train=2, test=1)
    dog_set(tmp_path / 'StanfordDogs', labels)
    assert labels_of(FGVC(str(tmp_path), 'dogs', 'test')) == labels['test']
    pool = labels_of(FGVC(str(tmp_path), 'dogs', 'trainval'))
    assert sorted(pool) == sorted(labels['train'])
    assert len(FGVC(str(tmp_path), 'dogs', 'val')) == 24


@pytest.mark.parametrize('kit', ['one folder', 'two folders', 'doubled', 'doubled kit'])
def test_cars(tmp_path, kit):
    labels = plan(196, train=2, test=1)
    car_set(tmp_path / 'StanfordCars', kit, labels)
    assert labels_of(FGVC(str(tmp_path), 'cars', 'test')) == labels['test']
    pool = FGVC(str(tmp_path), 'cars', 'trainval')
    assert sorted(labels_of(pool)) == sorted(labels['train'])
    assert len(FGVC(str(tmp_path), 'cars', 'val')) == 39


def test_labels_beside_the_kit_or_in_it(tmp_path):
    folder = tmp_path / 'StanfordCars'
    car_set(folder, 'two folders', plan(196, train=2, test=1))
    name = 'cars_test_annos_withlabels.mat'
    (folder / name).rename(folder / 'devkit' / name)
    assert len(FGVC(str(tmp_path), 'cars', 'test')) == 196


# What is refused


def test_unknown_names_splits_and_classes(tmp_path):
    make_json(tmp_path, 'flowers')
    assert "'birds'" in refusal(tmp_path, 'birds')
    assert 'train, val, trainval, test' in refusal(tmp_path, 'flowers', 'train800')
    assert '102 classes' in refusal(tmp_path, 'flowers', classes=['a'])


def test_id_that_train_lacks(tmp_path):
    folder, lists = make_json(tmp_path, 'nabirds')
    path = next(iter(lists['val']))
    (folder / 'val.json').write_text(json.dumps({**lists['val'], path: 1010}))
    message = refusal(tmp_path, 'nabirds', 'val')
    assert f'{folder}/val.json, key {path!r}' in message and '1010' in message
    assert 'Fetch' in message


def test_train_that_lacks_a_class(tmp_path):
    folder, lists = make_json(tmp_path, 'dogs')
    fewer = {path: i for path, i in lists['train'].items() if i != 7}
    (folder / 'train.json').write_text(json.dumps(fewer))
    for split in ('train', 'val', 'test'):
        message = refusal(tmp_path, 'dogs', split)
        assert '119 different classes' in message and '120' in message
        assert 'train.json' in message


@pytest.mark.parametrize('id_', [1.0, True, None, 'x', '²', [1]])
def test_ids_that_are_no_integers(tmp_path, id_):
    folder, lists = make_json(tmp_path, 'flowers')
    path = next(iter(lists['test']))
    (folder / 'test.json').write_text(json.dumps({**lists['test'], path: id_}))
    message = refusal(tmp_path, 'flowers', 'test')
    assert f'key {path!r}: the class id {id_!r}' in message


@pytest.mark.parametrize('text', ['[1]', '{}', '{"a": 1', ''])
def test_files_that_are_no_lists(tmp_path, text):
    folder, _ = make_json(tmp_path, 'flowers')
    (folder / 'val.json').write_text(text)
    assert f'{folder}/val.json is not' in refusal(tmp_path, 'flowers', 'val')


def test_lists_are_not_mixed_with_the_authors_files(tmp_path):
    folder, _ = make_json(tmp_path, 'flowers')
    flower_set(folder, plan(102, train=1, val=1, test=1))
    (folder / 'train.json').unlink()
    for split in ('train', 'val', 'test'):
        assert f"'{folder}/train.json' does not exist" in refusal(
            tmp_path, 'flowers', split
        )


def test_missing_image_and_path_outside(tmp_path):
    folder, lists = make_json(tmp_path, 'cub')
    path = next(iter(lists['test']))
    (folder / 'images' / path).unlink()
    message = refusal(tmp_path, 'cub', 'test')
    assert f'{folder}/test.json, key {path!r}: the image {path!r}' in message
    (folder / 'test.json').write_text(json.dumps({'../train.json': '001'}))
    assert 'leaves the folder' in refusal(tmp_path, 'cub', 'test')


def test_missing_files_and_folders(tmp_path):
    assert 'holds no folders' in refusal(tmp_path, 'cub')
    assert 'CUB_200_2011 or' in refusal(tmp_path, 'cub')
    for name, file in [
        ('cub', 'images.txt'),
        ('flowers', 'imagelabels.mat'),
        ('dogs', 'train_list.mat'),
        ('cars', 'devkit/cars_train_annos.mat'),
    ]:
        (tmp_path / 'fgvc' / FOLDERS[name][0]).mkdir(parents=True)
        message = refusal(tmp_path / 'fgvc', name)
        assert f'{file!r} does not exist'.replace("'", '') in message.replace("'", '')
        assert 'train.json' in message
    assert f"Pass '{tmp_path / 'fgvc'}' as data_root" in refusal(tmp_path, 'cub')
    inside = tmp_path / 'fgvc' / 'StanfordDogs'
    assert 'Pass the folder above' in refusal(inside, 'dogs')


def test_test_annotations_without_labels(tmp_path):
    folder = tmp_path / 'StanfordCars'
    car_set(folder, 'two folders', plan(196, train=2, test=1))
    file = folder / 'cars_test_annos_withlabels.mat'
    save_struct(file, ['fname'], [('00001.jpg',), ('00002.jpg',)])
    message = refusal(tmp_path, 'cars', 'test')
    assert f'{file}: its annotations lack class' in message


def test_broken_tables(tmp_path):
    folder = tmp_path / 'nabirds'
    bird_set(folder, BIRD_IDS, plan(555, train=1, test=1), uuids=True)
    lines = (folder / 'image_class_labels.txt').read_text().splitlines()
    (folder / 'image_class_labels.txt').write_text('\n'.join(lines[1:]))
    message = refusal(tmp_path, 'nabirds')
    assert f'image {lines[0].split()[0]}' in message and 'None' in message
    flowers = tmp_path / 'OxfordFlowers'
    flower_set(flowers, plan(102, train=1, val=1, test=1))
    savemat(flowers / 'imagelabels.mat', {'labels': np.ones((1, 300), int)})
    assert 'setid.mat, valid: the image 301' in refusal(tmp_path, 'flowers')
    (flowers / 'imagelabels.mat').write_bytes(pickle.dumps({'labels': [1]}))
    assert 'no readable MATLAB file' in refusal(tmp_path, 'flowers')


def test_count_unlike_the_paper_is_a_warning(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmdmlora.datasets.benchmarks.task_dataset.print_log',
        lambda message, **kwargs: messages.append(message),
    )
    make_json(tmp_path, 'flowers', train=10, val=10, test=1)
    FGVC(str(tmp_path), 'flowers', 'train')
    FGVC(str(tmp_path), 'flowers', 'trainval', subset=0.1)
    assert not messages
    FGVC(str(tmp_path), 'flowers', 'test')
    (message,) = messages
    assert '102 images' in message and '6149' in message


# What a BaseDataset does


def test_building_pickling_and_meta(tmp_path):
    make_json(tmp_path, 'flowers')
    config = dict(
        type='mmdmlora.FGVC',
        data_root=str(tmp_path),
        name='flowers',
        split='test',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )
    dataset = MMPRETRAIN_DATASETS.build(config)
    with DefaultScope.overwrite_default_scope('mmdmlora'):
        assert len(DATASETS.build({**config, 'type': 'FGVC'})) == 102
    assert dataset.metainfo['benchmark'] == 'FGVC'
    assert dataset.metainfo['task'] == 'flowers'
    assert dataset.metainfo['classes'] == tuple(str(i) for i in range(102))
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.get_data_info(3) == dataset.get_data_info(3)
    sample = dataset[5]
    blue, green, red = (int(c) // 25 for c in sample['inputs'][:, 4, 4])
    assert 100 * red + 10 * green + blue == sample['data_samples'].gt_label.item()
    assert 'OxfordFlowers (FGVC)' in repr(dataset) and 'Split: \ttest' in repr(dataset)
    assert not FGVC(str(tmp_path), 'cub', 'test', lazy_init=True)._fully_initialized

"""FewShotFGVC on generated trees, with the lists of NOAH and with CoOp's files."""

import json
import pickle
import random
from collections import Counter

import pytest
from mmpretrain.datasets import Food101
from mmpretrain.registry import DATASETS as MMPRETRAIN_DATASETS

from mmdmlora.datasets import FEWSHOT_TASKS, FewShotFGVC, fewshot_task
from tests.fgvc_trees import coop_set, label_in, noah_set, plan, write_image

# Table 8 of the paper's supplement: classes, images in val and test.
PAPER = {
    'food101': (101, 20200, 30300),
    'aircraft': (100, 3333, 3333),
    'flowers': (102, 1633, 2463),
    'pets': (37, 736, 3669),
    'cars': (196, 1635, 8041),
}
FOLDERS = {
    'food101': ['food-101', 'food101'],
    'aircraft': ['fgvc_aircraft', 'fgvc-aircraft'],
    'flowers': ['oxford_flowers', 'oxford_flowers102', 'oxford-flowers102'],
    'pets': ['oxford_pets', 'oxford-pets'],
    'cars': ['stanford_cars', 'standford-cars'],
}
COOP_IMAGES = {'flowers': 'jpg', 'cars': ''}
SPLITS = ('train', 'val', 'test')


def read(root, name, split='train', num_shots=2, seed=1, **kwargs):
    return FewShotFGVC(str(root), name, num_shots, seed, split, **kwargs)


def refusal(root, name, split='train', num_shots=2, seed=1):
    with pytest.raises(ValueError) as error:
        read(root, name, split, num_shots, seed)
    return str(error.value)


def labels_of(dataset):
    """The labels, after a check against the pixels of each image."""
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    for info in infos:
        assert label_in(info['img_path']) == info['gt_label'], info
    return [info['gt_label'] for info in infos]


def names_of(dataset):
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    return [path.rsplit('/', 1)[1] for path in paths]


def noah(root, name, folder=None, images=None):
    labels = plan(PAPER[name][0], train=2, val=1, test=1)
    images = images or ('' if name == 'cars' else 'images')
    noah_set(root / (folder or FOLDERS[name][0]), name, labels, images)
    return labels


def coop(root, name, train=5):
    labels = plan(PAPER[name][0], train=train, val=2, test=1)
    folder = root / FOLDERS[name][0]
    return folder, coop_set(folder, name, labels, COOP_IMAGES.get(name, 'images'))


def as_coop_draws(pairs, num_shots, seed):
    """What CoOp's code draws, with the global generator."""
    random.seed(seed)
    by_class = {}
    for path, label in pairs:
        by_class.setdefault(label, []).append(path.rsplit('/', 1)[-1])
    drawn = []
    for names in by_class.values():
        drawn += random.sample(names, num_shots) if len(names) >= num_shots else names
    return drawn


def test_table_equals_the_paper():
    assert [task.name for task in FEWSHOT_TASKS] == list(PAPER)
    for task in FEWSHOT_TASKS:
        classes, val, test = PAPER[task.name]
        assert task.num_classes == classes
        assert task.num_images == dict(train=classes, val=val, test=test)
        assert list(task.folders) == FOLDERS[task.name]
        for folder in task.folders:
            assert fewshot_task(folder) is task


# NOAH's lists


@pytest.mark.parametrize(
    'name, folder', [(name, folder) for name in FOLDERS for folder in FOLDERS[name]]
)
def test_noah(tmp_path, name, folder):
    labels = noah(tmp_path, name, folder)
    for split in SPLITS:
        assert labels_of(read(tmp_path, name, split)) == labels[split]


def test_repeated_lines_count_once(tmp_path):
    labels = noah(tmp_path, 'pets')
    file = tmp_path / 'oxford_pets/annotations/train_meta.list.num_shot_2.seed_1'
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(''.join(line + line for line in lines))
    dataset = read(tmp_path, 'pets')
    assert labels_of(dataset) == labels['train']
    assert len(set(names_of(dataset))) == 74


def test_an_image_of_two_classes(tmp_path):
    noah(tmp_path, 'pets')
    file = tmp_path / 'oxford_pets/annotations/val_meta.list'
    file.write_text('val 0.jpg 3\nval 0.jpg 4\n')
    message = refusal(tmp_path, 'pets', 'val')
    assert f"{file}, line 2: 'val 0.jpg' has the label 4 here and 3 above" in message


def test_cars_folders_are_doubled(tmp_path):
    labels = noah(tmp_path, 'cars')
    for name in ('cars_train', 'cars_test'):
        folder = tmp_path / 'stanford_cars' / name
        folder.rename(tmp_path / 'moved')
        folder.mkdir()
        (tmp_path / 'moved').rename(folder / name)
    for split in SPLITS:
        dataset = read(tmp_path, 'cars', split)
        assert labels_of(dataset) == labels[split]
        assert '/cars_t' in dataset.get_data_info(0)['img_path'].rsplit('/', 2)[0]


def test_lists_and_images_in_two_folders(tmp_path):
    labels = noah(tmp_path, 'cars')
    (tmp_path / 'standford-cars').mkdir()
    (tmp_path / 'stanford_cars/annotations').rename(
        tmp_path / 'standford-cars/annotations'
    )
    assert labels_of(read(tmp_path, 'cars')) == labels['train']


def test_noahs_flowers_in_coops_folder(tmp_path):
    labels = noah(tmp_path, 'flowers', images='jpg')
    assert labels_of(read(tmp_path, 'flowers')) == labels['train']


# CoOp's files


@pytest.mark.parametrize('name', PAPER)
def test_coop(tmp_path, name):
    _, rows = coop(tmp_path, name)
    for split in ('val', 'test'):
        dataset = read(tmp_path, name, split)
        assert labels_of(dataset) == [label for _, label in rows[split]]
    for num_shots, seed in ((1, 1), (2, 2), (4, 3)):
        dataset = read(tmp_path, name, 'train', num_shots, seed)
        assert set(Counter(labels_of(dataset)).values()) == {num_shots}
        assert names_of(dataset) == [
            image.rsplit('/', 1)[-1]
            for image in as_coop_draws(rows['train'], num_shots, seed)
        ]


def test_too_few_images_are_all_taken(tmp_path):
    _, rows = coop(tmp_path, 'pets', train=3)
    assert len(read(tmp_path, 'pets', num_shots=16)) == 3 * 37 == len(rows['train'])


def test_the_global_generator_is_left_alone(tmp_path):
    coop(tmp_path, 'pets')
    random.seed(5)
    expected = random.random()
    random.seed(5)
    read(tmp_path, 'pets')
    assert random.random() == expected


def test_pickles_are_ignored(tmp_path):
    folder, rows = coop(tmp_path, 'pets')
    (folder / 'split_fewshot').mkdir()
    bomb = b"cposix\nsystem\n(S'touch " + str(tmp_path / 'x').encode() + b"'\ntR."
    (folder / 'split_fewshot/shot_2-seed_1.pkl').write_bytes(bomb)
    assert names_of(read(tmp_path, 'pets')) == as_coop_draws(rows['train'], 2, 1)
    assert not (tmp_path / 'x').exists()


def test_labels_are_the_files_not_those_of_mmpretrain(tmp_path):
    """mmpretrain's names have cheesecake and cheese_plate swapped."""
    names = sorted(Food101.METAINFO['classes'])
    assert names != list(Food101.METAINFO['classes'])
    folder = tmp_path / 'food-101'
    rows = {split: [] for split in SPLITS}
    for label, name in enumerate(names):
        for split in SPLITS:
            path = f'{name}/{split}.jpg'
            write_image(folder / 'images' / path, label)
            rows[split].append([path, label, name])
    (folder / 'split_zhou_Food101.json').write_text(json.dumps(rows))
    dataset = read(tmp_path, 'food101', 'test')
    assert labels_of(dataset) == list(range(101))
    paths = [dataset.get_data_info(i)['img_path'] for i in range(101)]
    for label in (names.index('cheesecake'), names.index('cheese_plate')):
        assert f'/{names[label]}/' in paths[label]
    assert dataset.metainfo['classes'] == tuple(str(i) for i in range(101))
    rows['test'].append(
        ['cheesecake/test.jpg', names.index('cheese_plate'), 'cheesecake']
    )
    (folder / 'split_zhou_Food101.json').write_text(json.dumps(rows))
    message = refusal(tmp_path, 'food101', 'test')
    assert 'test 101: the label' in message and "'cheesecake' here" in message


# Both


def test_noah_wins_for_its_seeds_and_the_log_says_so(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmdmlora.datasets.benchmarks.fewshot.print_log',
        lambda text, **_: messages.append(text),
    )
    noah(tmp_path, 'pets')
    coop(tmp_path, 'pets')
    assert names_of(read(tmp_path, 'pets', seed=1))[0].startswith('train ')
    assert names_of(read(tmp_path, 'pets', 'val', seed=1))[0].startswith('val ')
    assert names_of(read(tmp_path, 'pets', seed=3))[0].startswith('coop-train ')
    assert names_of(read(tmp_path, 'pets', 'val', seed=3))[0].startswith('coop-val ')
    root = tmp_path / 'oxford_pets'
    assert [message.rsplit(' ', 1)[1] for message in messages] == [
        f'{root}/annotations/train_meta.list.num_shot_2.seed_1',
        f'{root}/annotations/val_meta.list',
        f'{root}/split_zhou_OxfordPets.json',
        f'{root}/split_zhou_OxfordPets.json',
    ]


def test_count_unlike_the_paper_is_a_warning(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmdmlora.datasets.benchmarks.task_dataset.print_log',
        lambda message, **kwargs: messages.append(message),
    )
    noah(tmp_path, 'pets')
    read(tmp_path, 'pets')
    assert not messages
    read(tmp_path, 'pets', 'val')
    assert '37 images' in messages[0] and '736' in messages[0]


def test_building_and_pickling(tmp_path):
    noah(tmp_path, 'aircraft')
    config = dict(
        type='mmdmlora.FewShotFGVC',
        data_root=str(tmp_path),
        name='aircraft',
        num_shots=2,
        seed=1,
        split='train',
    )
    dataset = MMPRETRAIN_DATASETS.build(config)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.get_data_info(7) == dataset.get_data_info(7)
    assert dataset.metainfo['benchmark'] == 'few-shot'
    assert dataset.metainfo['task'] == 'aircraft'
    assert 'Shots: \t2 (seed 1)' in repr(dataset)


# What is refused


@pytest.mark.parametrize('num_shots', [0, 3, 32, None, '1'])
def test_unknown_shots(tmp_path, num_shots):
    noah(tmp_path, 'pets')
    assert '1, 2, 4, 8, 16' in refusal(tmp_path, 'pets', num_shots=num_shots)


@pytest.mark.parametrize('seed', [-1, None, '1', 1.0, True])
def test_unknown_seeds(tmp_path, seed):
    noah(tmp_path, 'pets')
    assert f'seed={seed!r}' in refusal(tmp_path, 'pets', seed=seed)


def test_missing_lists(tmp_path):
    noah(tmp_path, 'pets')
    list_file = tmp_path / 'oxford_pets/annotations/train_meta.list.num_shot_4.seed_2'
    assert f"'{list_file}' does not exist" in refusal(tmp_path, 'pets', 'train', 4, 2)
    message = refusal(tmp_path, 'pets', seed=3)
    assert 'seeds 0, 1 and 2' in message and 'split_zhou_OxfordPets.json' in message
    assert "'trainval'" in refusal(tmp_path, 'pets', 'trainval')
    assert 'few-shot has no task' in refusal(tmp_path, 'cub')
    assert 'fgvc_aircraft or fgvc-aircraft' in refusal(tmp_path, 'aircraft')


@pytest.mark.parametrize('line', ['a.jpg', '3', 'a.jpg,3'])
def test_malformed_lines(tmp_path, line):
    noah(tmp_path, 'pets')
    file = tmp_path / 'oxford_pets/annotations/val_meta.list'
    file.write_text(f'\n{line}\n')
    message = refusal(tmp_path, 'pets', 'val')
    assert f'{file}, line 2: expected' in message and repr(line) in message


@pytest.mark.parametrize('label', ['-1', '3.0', '37'])
def test_labels_out_of_range(tmp_path, label):
    noah(tmp_path, 'pets')
    file = tmp_path / 'oxford_pets/annotations/val_meta.list'
    file.write_text(f'\na.jpg {label}\n')
    message = refusal(tmp_path, 'pets', 'val')
    assert f'{file}, line 2: the label' in message and label in message


def test_labels_out_of_range_and_missing_images(tmp_path):
    folder, rows = coop(tmp_path, 'pets')
    file = folder / 'split_zhou_OxfordPets.json'
    path = rows['test'][0][0]
    for row, text in [
        ([path, 37, 'x'], 'test 0: the label 37'),
        (['no.jpg', 1, 'x'], "test 0: the image 'no.jpg' does not exist"),
        (['../split_zhou_OxfordPets.json', 1, 'x'], 'leaves the folder'),
        ([path, '1', 'x'], 'test 0: expected [path, label, class name]'),
        ([path, 1], 'test 0: expected [path, label, class name]'),
    ]:
        file.write_text(json.dumps({'test': [row]}))
        message = refusal(tmp_path, 'pets', 'test')
        assert text in message and str(file) in message
    file.write_text(json.dumps({'test': []}))
    assert f'{file} lists no image of test' in refusal(tmp_path, 'pets', 'test')
    for text, reason in (('[]', 'no list'), ('{', 'is not JSON'), ('{}', 'no list')):
        file.write_text(text)
        assert reason in refusal(tmp_path, 'pets', 'test')


def test_unknown_variant(tmp_path):
    folder, _ = coop(tmp_path, 'aircraft')
    lines = (folder / 'variants.txt').read_text().splitlines()
    (folder / 'variants.txt').write_text('\n'.join(lines[1:]))
    message = refusal(tmp_path, 'aircraft', 'test')
    assert repr(lines[0]) in message and 'images_variant_test.txt, line' in message

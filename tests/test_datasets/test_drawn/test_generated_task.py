"""The drawn tasks as data sets: splits, seeds, balance, cache and configs."""

import pickle
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from mmpretrain.registry import DATASETS as MMPRETRAIN_DATASETS

from mmdmlora.apis.compose import load_config
from mmdmlora.datasets.drawn import count_scenes, dsprites
from mmdmlora.datasets.drawn.generated_task import GENERATED_TASKS, PARTS, GeneratedTask

ROOT = Path(__file__).parents[3]
TASKS = {'dsprites-loc': 16, 'dsprites-ori': 16, 'count': 8, 'dist': 6}
SIZES = {'train800': 800, 'val200': 200, 'train800val200': 1000, 'test': 2000}


@pytest.fixture(scope='module')
def whole():
    """The images (RGB) and labels of all numbers of each task, for seed 0."""
    return {task: draw(range(3000), 0) for task, (draw, _) in GENERATED_TASKS.items()}


# Splits and seeds


@pytest.mark.parametrize('task', TASKS)
def test_splits_are_ranges_of_one_row_of_images(task, whole):
    images, labels = whole[task]
    ends = {'train800': (0, 800), 'val200': (800, 1000), 'test': (1000, 3000)}
    ends['train800val200'] = (0, 1000)
    for split, (start, stop) in ends.items():
        samples = GeneratedTask(task, split, serialize_data=False).data_list
        assert len(samples) == SIZES[split]
        drawn = np.stack([sample['img'] for sample in samples])
        np.testing.assert_array_equal(drawn[..., ::-1], images[start:stop])
        assert [s['gt_label'] for s in samples] == labels[start:stop].tolist()
        assert drawn.dtype == np.uint8 and drawn.shape[1:] == (64, 64, 3)
        assert samples[0]['img_shape'] == samples[0]['ori_shape'] == (64, 64)


@pytest.mark.parametrize('task', ['count', 'dist'])
def test_no_scene_is_drawn_twice(task, whole):
    assert len({image.tobytes() for image in whole[task][0]}) == 3000


@pytest.mark.parametrize('task', TASKS)
def test_an_image_depends_on_its_number_and_the_seed_alone(task, whole):
    draw, _ = GENERATED_TASKS[task]
    images, labels = draw([2500, 7], 0)
    np.testing.assert_array_equal(images, whole[task][0][[2500, 7]])
    assert labels.tolist() == whole[task][1][[2500, 7]].tolist()
    other, _ = draw([2500, 7], 1)
    assert (other != images).any(axis=(1, 2, 3)).all()


def test_another_process_draws_the_same(whole):
    code = (
        'import numpy as np, zlib; np.random.seed(9); '
        'from mmdmlora.datasets.drawn.generated_task import GENERATED_TASKS as T; '
        'print([zlib.crc32(T[t][0]([3, 1], 0)[0].tobytes()) for t in T])'
    )
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    here = [zlib.crc32(whole[task][0][[3, 1]].tobytes()) for task in TASKS]
    assert result.stdout.splitlines()[-1] == str(here)


def test_the_draws_of_a_seed_never_change():
    factors = dsprites.draw_factors([0, 1, 2999], 0)
    assert factors.tolist() == [[0, 3, 2, 23, 10], [1, 4, 25, 25, 28], [1, 2, 4, 23, 4]]
    rng = np.random.RandomState((0, count_scenes.COUNT_STREAM, 5))
    assert rng.randint(1 << 30) == 855312168


# Class balance


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('part', PARTS)
def test_classes_are_balanced(task, part, whole):
    numbers, num_classes = PARTS[part], TASKS[task]
    counts = np.bincount(whole[task][1][numbers.start : numbers.stop])
    assert len(counts) == num_classes and counts.min() > 0
    if task in ('count', 'dist'):
        assert np.ptp(counts) <= 1
    else:
        values = 40 if task == 'dsprites-ori' else 32
        width = np.bincount([dsprites.bin_of(i, values) for i in range(values)])
        share = len(numbers) * width / values
        assert (np.abs(counts - share) < 5 * np.sqrt(share)).all()


# What a user meets


@pytest.mark.parametrize(
    'args, message',
    [
        (('dsprites', 'test'), "no task 'dsprites'.*dsprites-loc, dsprites-ori"),
        (('count', 'train'), "no split 'train'.*train800, val200"),
        (('count', 'test', -1), 'seed -1'),
        (('count', 'test', True), 'seed True'),
    ],
)
def test_wrong_arguments(args, message):
    with pytest.raises(ValueError, match=message):
        GeneratedTask(*args)


def test_base_dataset_options():
    dataset = MMPRETRAIN_DATASETS.build(
        dict(type='mmdmlora.GeneratedTask', task='dist', split='val200', indices=5)
    )
    assert dataset.metainfo['classes'][0] == '3.0 to 3.5'
    assert len(dataset.CLASSES) == 6 and dataset.metainfo['task'] == 'dist'
    copy = pickle.loads(pickle.dumps(dataset))
    assert len(copy) == 5
    assert 'Task: \tdist' in repr(copy) and 'Split: \tval200 (seed 0)' in repr(copy)


@pytest.mark.parametrize('task', TASKS)
def test_configs_give_what_the_model_needs(task):
    config = load_config(f'{ROOT}/configs/linear/vit-tiny_generated-{task}.py')
    assert config.model.head.num_classes == TASKS[task]
    splits = {'train': 'train800', 'val': 'val200', 'test': 'test'}
    for name, split in splits.items():
        settings = config[f'{name}_dataloader'].dataset
        assert settings.task == task and settings.split == split
        assert settings.get('test_mode', False) == (name != 'train')
    settings = dict(config.val_dataloader.dataset, indices=2, _scope_='mmdmlora')
    packed = MMPRETRAIN_DATASETS.build(settings)[1]
    assert packed['inputs'].shape == (3, 32, 32)

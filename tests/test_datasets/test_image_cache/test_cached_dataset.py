"""Samples from memory equal those from the files, bit for bit, and are new each time."""

import copy
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile as MMCVLoadImageFromFile
from mmengine.dataset import default_collate
from mmpretrain.registry import TRANSFORMS
from torch.utils.data import DataLoader

from mmdmlora.datasets import (
    FGVC,
    CustomDataset,
    Digits,
    FewShotFGVC,
    GeneratedTask,
    VTAB1k,
    fewshot_task,
    fgvc_task,
    vtab_task,
)
from mmdmlora.datasets.image_cache import batches
from mmdmlora.datasets.image_cache.batches import is_same
from mmdmlora.datasets.image_cache.image_store import ImageStore
from tests.fgvc_trees import json_set, noah_set, plan
from tests.photos import class_folders, make_photos, write_photo
from tests.trees import make_vtab_task

LOAD = dict(type='mmdmlora.LoadImageFromFile')
STOCK_LOAD = MMCVLoadImageFromFile()
RESIZE = dict(type='Resize', scale=(24, 24), backend='pillow', interpolation='bicubic')
EDGE = dict(type='ResizeEdge', scale=28, backend='pillow')
CENTRE = dict(type='CenterCrop', crop_size=24)
PACK = dict(type='PackInputs')
WHOLE = [LOAD, RESIZE, PACK]
CROPPED = [
    LOAD,
    EDGE,
    dict(type='RandomCrop', crop_size=24),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    PACK,
]
FEW_SHOT = [
    LOAD,
    dict(type='RandomResizedCrop', scale=24, backend='pillow', interpolation='bicubic'),
    dict(type='RandomErasing', erase_prob=0.5, mode='rand'),
    PACK,
]


def vtab(root, **options):
    if not (root / 'dtd').exists():
        make_vtab_task(root, 'dtd', vtab_task('dtd').num_classes)
        make_photos(root)
    return VTAB1k(root, 'dtd', 'train800', **options)


def fgvc(root, **options):
    if not (root / 'CUB_200_2011').exists():
        num_classes = fgvc_task('cub').num_classes
        json_set(
            root / 'CUB_200_2011',
            'images',
            [*range(1, num_classes + 1)],
            dict(train=[*range(num_classes)], val=[0], test=[1]),
        )
        make_photos(root)
    return FGVC(root, 'cub', 'train', **options)


def few_shot(root, **options):
    folder = root / fewshot_task('pets').folders[0]
    if not folder.exists():
        noah_set(folder, 'pets', plan(5, train=2, val=1, test=1))
        make_photos(root)
    return FewShotFGVC(root, 'pets', 2, 1, 'train', **options)


def custom(root, **options):
    class_folders(root / 'photos')
    return CustomDataset(data_root=str(root), data_prefix='photos', **options)


def digits(root, **options):
    return Digits('val200', indices=30, **options)


def drawn(root, **options):
    return GeneratedTask('count', 'val200', indices=20, **options)


CASES = {
    'vtab': (vtab, WHOLE),
    'vtab, stock loading': (vtab, [STOCK_LOAD, *WHOLE[1:]]),
    'vtab, padded': (vtab, [LOAD, EDGE, dict(type='Pad', size=(64, 64)), PACK]),
    'vtab, grey': (vtab, [dict(LOAD, color_type='grayscale'), *WHOLE[1:]]),
    'fgvc': (fgvc, CROPPED),
    'fgvc, test': (fgvc, [LOAD, EDGE, CENTRE, PACK]),
    'few-shot': (few_shot, FEW_SHOT),
    'few-shot, test': (few_shot, [LOAD, RESIZE, CENTRE, PACK]),
    'custom': (custom, WHOLE),
    'custom, several sizes': (custom, [LOAD, PACK]),
    'digits': (digits, WHOLE[1:]),
    'digits, packed only': (digits, [PACK]),
    'digits, flipped': (digits, [RESIZE, dict(type='RandomFlip', prob=0.5), PACK]),
    'drawn': (drawn, WHOLE[1:]),
    'drawn, not packed': (drawn, [RESIZE]),
}


def seed_all():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def states():
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


@pytest.mark.parametrize('case', CASES)
def test_samples_and_random_numbers_equal_those_of_the_files(case, tmp_path):
    make, pipeline = CASES[case]
    plain = make(tmp_path, pipeline=pipeline)
    cached = make(tmp_path, pipeline=pipeline, cache='memory')
    seed_all()
    before = states()
    report = cached.fill_cache()
    assert is_same(states(), before), 'filling draws no random numbers'
    assert report.num_images == len(plain) > 0 and not report.reason, report
    assert report.num_bytes == cached.cache_bytes > 0
    order = [*range(len(plain)), 2, 0, -1, -2]
    found = []
    for dataset in (plain, cached):
        seed_all()
        found.append(([dataset[i] for i in order], states()))
    assert is_same(*found)
    assert cached.is_whole_cached == ('Random' not in str(pipeline) and PACK in pipeline)


def test_is_same_sees_differences():
    one = dict(inputs=torch.zeros(2, 3), data_samples=[Digits('val200')[0]])
    assert is_same(one, copy.deepcopy(one))
    for change in (
        dict(inputs=torch.zeros(2, 3, dtype=torch.uint8)),
        dict(inputs=torch.ones(2, 3)),
        dict(data_samples=[]),
        dict(data_samples=[Digits('val200')[1]]),
        dict(more=1),
    ):
        assert not is_same(one, one | change), change


@pytest.mark.parametrize('batched', [False, True])
def test_what_is_done_to_a_sample_does_not_reach_the_next(batched, tmp_path):
    dataset = vtab(tmp_path, pipeline=WHOLE, cache='memory')
    dataset.fill_cache()
    if batched:
        assert dataset.index_batches()

    def take():
        if batched:
            return dataset.__getitems__([1, 3])
        return default_collate([dataset[i] for i in (1, 3)])

    first, expected = take(), take()
    first['inputs'].fill_(7)
    for sample in first['data_samples']:
        sample.gt_label.fill_(0)
        sample.set_pred_score(torch.ones(3))
        sample.set_field((1, 1), 'ori_shape', field_type='metainfo')
    assert is_same(take(), expected)


def test_an_in_place_step_after_the_cache_does_not_spoil_it(tmp_path):
    def darken(results):
        results['img'] //= 2
        return results

    pipeline = [LOAD, RESIZE, darken, PACK]
    plain = vtab(tmp_path, pipeline=pipeline)
    cached = vtab(tmp_path, pipeline=pipeline, cache='memory')
    assert not cached.fill_cache().reason
    for _ in range(3):
        assert is_same(cached[0], plain[0])


@pytest.mark.parametrize('indices', [[0], [3, 1, 1], [2, 0, 3, 1]])
@pytest.mark.parametrize('device', [None, torch.device('cpu')])
def test_a_batch_by_index_is_the_collated_one(indices, device, tmp_path):
    plain = vtab(tmp_path, pipeline=WHOLE)
    cached = vtab(tmp_path, pipeline=WHOLE, cache='memory')
    assert cached.__getitems__ is None
    cached.fill_cache()
    assert cached.__getitems__ is None
    assert cached.index_batches(device)
    expected = default_collate([plain[i] for i in indices])
    assert is_same(cached.__getitems__(indices), expected)


def test_a_batch_that_would_differ_is_not_drawn_by_index(tmp_path, monkeypatch):
    cached = vtab(tmp_path, pipeline=WHOLE, cache='memory')
    cached.fill_cache()
    make = batches.index_batch

    def wrong(*args):
        batch = make(*args)
        batch['inputs'][-1, 0, 0, 0] ^= 1
        return batch

    monkeypatch.setattr('mmdmlora.datasets.image_cache.cached_dataset.index_batch', wrong)
    assert not cached.index_batches() and cached.__getitems__ is None


@pytest.mark.parametrize(
    'pipeline', [[LOAD, PACK], [LOAD, EDGE, PACK], CROPPED, [LOAD, RESIZE]]
)
def test_images_of_several_sizes_or_with_steps_left_are_not_indexed(pipeline, tmp_path):
    cached = vtab(tmp_path, pipeline=pipeline, cache='memory')
    assert not cached.fill_cache().reason
    assert not cached.index_batches()


class Negative:
    """A step that a user wrote."""

    def __call__(self, results):
        return dict(results, img=255 - results['img'])


CHANGES = {
    'pipeline': lambda d: setattr(d, 'pipeline', type(d.pipeline)([LOAD, PACK])),
    'a step more': lambda d: d.pipeline.transforms.insert(1, Negative()),
    'a step less': lambda d: d.pipeline.transforms.pop(1),
    'another step': lambda d: d.pipeline.transforms.__setitem__(
        1, TRANSFORMS.build(dict(type='Resize', scale=(20, 20)))
    ),
    'a setting': lambda d: setattr(d.pipeline.transforms[1], 'scale', (20, 22)),
    'subset': lambda d: d.get_subset_([3, 2, 0]),
    'first ones': lambda d: d.get_subset_(2),
    'list': lambda d: (setattr(d, '_fully_initialized', False), d.full_init()),
}


@pytest.mark.parametrize('change', CHANGES)
def test_a_replaced_pipeline_or_list_never_meets_the_old_images(change, tmp_path):
    plain = vtab(tmp_path, pipeline=WHOLE)
    cached = vtab(tmp_path, pipeline=WHOLE, cache='memory')
    cached.fill_cache()
    assert cached.index_batches()
    for dataset in (plain, cached):
        CHANGES[change](dataset)
    assert cached.__getitems__ is None and not cached.cache_bytes
    for _ in range(2):  # from the files, then from memory that is filled again
        assert len(cached) == len(plain)
        assert all(is_same(cached[i], plain[i]) for i in range(len(plain)))
        cached.fill_cache()


def test_files_are_taken_as_they_are_when_the_memory_is_filled(tmp_path):
    plain = vtab(tmp_path, pipeline=WHOLE)
    first = vtab(tmp_path, pipeline=WHOLE, cache='memory')
    first.fill_cache()
    old = [plain[i] for i in range(len(plain))]
    make_photos(tmp_path / 'dtd' / 'images' / 'train800', sizes=False)
    assert not is_same(plain[0], old[0])
    assert all(is_same(first[i], old[i]) for i in range(len(old)))
    second = vtab(tmp_path, pipeline=WHOLE, cache='memory')
    second.fill_cache()
    assert all(is_same(second[i], plain[i]) for i in range(len(old)))


class OwnInfo(Digits):
    def get_data_info(self, idx):
        return super().get_data_info(idx)


class OwnItem(Digits):
    def __getitem__(self, idx):
        return super().__getitem__((idx + 1) % len(self))


REASONS = {
    'cache=None': lambda: digits(None, pipeline=WHOLE[1:]),
    'serialize_data': lambda: digits(
        None, pipeline=[PACK], cache='memory', serialize_data=False
    ),
    'get_data_info': lambda: OwnInfo('val200', [PACK], cache='memory'),
    'may be random': lambda: digits(
        None, pipeline=[dict(type='RandomFlip', prob=0.5), PACK], cache='memory'
    ),
    'no uint8 arrays, but NoneType': lambda: digits(
        None, pipeline=[dict(type='PackInputs', input_key='mask')], cache='memory'
    ),
    'cache_gib=1e-05. Raise cache_gib': lambda: digits(
        None, pipeline=WHOLE[1:], cache='memory', cache_gib=1e-5
    ),
}


@pytest.mark.parametrize('reason', REASONS)
def test_what_is_not_kept_is_read_and_the_reason_is_said(reason):
    dataset = REASONS[reason]()
    report = dataset.fill_cache()
    assert reason in str(report) and 'read from their files' in str(report)
    assert not dataset.cache_bytes and dataset.__getitems__ is None
    assert len(dataset) == report.num_images and dataset[0] is not None


@pytest.mark.parametrize('option', ['to_float32', 'ignore_empty'])
def test_images_that_are_no_bytes_or_may_be_missing_are_read(option, tmp_path):
    loading = MMCVLoadImageFromFile(**{option: True})
    dataset = vtab(tmp_path, pipeline=[loading, PACK], cache='memory')
    if option == 'ignore_empty':
        Path(dataset.get_data_info(2)['img_path']).write_bytes(b'')
    reason = dict(to_float32='float32', ignore_empty='gives nothing')[option]
    assert reason in dataset.fill_cache().reason
    assert dataset[0]['inputs'].ndim == 3


def test_a_budget_that_fits_exactly_is_enough():
    size = 30 * 24 * 24 * 3
    dataset = digits(
        None, pipeline=WHOLE[1:], cache='memory', cache_gib=0.9 * size / 2**30
    )
    report = str(dataset.fill_cache())
    needed = float(report.split('need about ')[1].split()[0])
    assert size / 2**30 < needed < 1.5 * size / 2**30
    dataset.cache_gib = 1.5 * size / 2**30
    assert not dataset.fill_cache().reason


def test_memory_that_grows_beyond_the_budget_ends_the_filling(tmp_path, monkeypatch):
    monkeypatch.setattr('mmdmlora.datasets.image_cache.filling.SAMPLES', 2)
    class_folders(tmp_path / 'photos')
    write_photo(tmp_path / 'photos' / 'dog' / '9.jpg', 9, 400, 300)
    dataset = custom(tmp_path, pipeline=[LOAD, PACK], cache='memory', cache_gib=1e-4)
    assert 'GiB, more than cache_gib=0.0001' in dataset.fill_cache().reason


def test_no_room_left_falls_back_to_the_files(tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(
        'mmdmlora.datasets.image_cache.shared_file.SharedFile.append', full
    )
    dataset = vtab(tmp_path, pipeline=WHOLE, cache='memory')
    assert 'No space left' in dataset.fill_cache().reason
    assert dataset[0]['inputs'].shape == (3, 24, 24)


@pytest.mark.parametrize('place', [0, 2, 3])
def test_a_damaged_image_is_named_as_without_a_cache(place, tmp_path):
    dataset = vtab(tmp_path, pipeline=WHOLE, cache='memory')
    path = dataset.get_data_info(place)['img_path']
    with open(path, 'r+b') as file:
        file.truncate(200)
    with pytest.raises(ValueError, match='is cut off') as plain:
        dataset[place]
    with pytest.raises(ValueError, match='is cut off') as cached:
        dataset.fill_cache()
    assert str(cached.value) == str(plain.value)
    assert not dataset.cache_bytes


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_workers_use_the_memory(method, tmp_path):
    dataset = vtab(tmp_path, pipeline=WHOLE, cache='memory')
    dataset.fill_cache()
    expected = [dataset[i] for i in range(len(dataset))]
    make_photos(tmp_path, sizes=False)  # the files hold something else by now
    loader = DataLoader(
        dataset, 2, num_workers=1, collate_fn=list, multiprocessing_context=method
    )
    assert is_same([sample for batch in loader for sample in batch], expected)


def test_a_copy_uses_the_memory(tmp_path):
    dataset = vtab(tmp_path, pipeline=WHOLE, cache='memory')
    dataset.fill_cache()
    assert dataset.index_batches()
    for copied in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert copied.cache_bytes == dataset.cache_bytes
        assert is_same(copied[0], dataset[0])
        assert copied.__getitems__ is None, 'its loader would not know'
    subset = dataset.get_subset([2, 1])
    assert torch.equal(subset[0]['inputs'], dataset[2]['inputs'])
    assert not subset.cache_bytes


def filled_and_gone(root):
    dataset = vtab(root, pipeline=WHOLE, cache='memory')
    dataset.fill_cache()
    return pickle.dumps(dataset), dataset[0], dataset._filled.store.handle


def test_the_memory_ends_with_its_data_set_and_then_files_are_read(tmp_path):
    stored, expected, handle = filled_and_gone(tmp_path)
    late = pickle.loads(stored)
    assert not late.cache_bytes and is_same(late[0], expected)
    with pytest.raises(OSError):
        ImageStore.open(handle)
    other = vtab(tmp_path, pipeline=WHOLE, cache='memory')
    other.fill_cache()
    path = other._filled.store.handle.path
    with pytest.raises(OSError, match='another file by now'):
        ImageStore.open(handle._replace(path=path))


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(cache='disk'), "cache='disk'"),
        (dict(cache=True), 'cache=True'),
        (dict(cache='memory', cache_gib=0), 'cache_gib=0 '),
        (dict(cache_gib=-1.5), 'cache_gib=-1.5'),
        (dict(cache_gib='2'), "cache_gib='2'"),
        (dict(cache_gib=True), 'cache_gib=True'),
        (dict(cache_gib=float('nan')), 'cache_gib=nan'),
    ],
)
def test_unknown_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Digits('val200', **options)


def test_a_class_with_samples_of_its_own_keeps_them():
    cached = OwnItem('val200', WHOLE[1:], cache='memory')
    assert not cached.fill_cache().reason
    assert not cached.is_whole_cached and not cached.index_batches()
    assert is_same(cached[0], OwnItem('val200', WHOLE[1:])[0])

"""Parts of training sets."""

from collections import Counter
from functools import partial

import pytest

from mmdmlora.datasets import (
    FGVC,
    Digits,
    FewShotFGVC,
    GeneratedTask,
    VTAB1k,
    take_subset,
)
from mmdmlora.datasets.subset import take_shots
from tests.fgvc_trees import json_set, label_in, plan
from tests.trees import make_vtab_task


def data_list(*sizes):
    """Samples of classes of these sizes, the classes mixed."""
    left = dict(enumerate(sizes))
    samples = []
    while any(left.values()):
        for label in [k for k, size in left.items() if size]:
            left[label] -= 1
            samples.append({'img_path': f'{label}/{left[label]}', 'gt_label': label})
    return samples


def counts(samples):
    return Counter(sample['gt_label'] for sample in samples)


@pytest.mark.parametrize('fraction', [0.1, 0.25, 0.5, 0.8, 0.99])
@pytest.mark.parametrize('seed', [0, 1, 7])
def test_size_order_and_shares(fraction, seed):
    sizes = (200, 100, 50, 30, 20)
    samples = data_list(*sizes)
    subset = take_subset(samples, fraction, seed)
    assert len(subset) == round(fraction * 400)
    places = [samples.index(sample) for sample in subset]
    assert places == sorted(set(places))
    for label, size in enumerate(sizes):
        assert abs(counts(subset)[label] - fraction * size) <= 1


def test_equal_classes_stay_equal():
    samples = data_list(*[10] * 30)
    for fraction in (0.1, 0.37, 0.5, 0.8):
        numbers = counts(take_subset(samples, fraction)).values()
        assert len(numbers) == 30
        assert max(numbers) - min(numbers) <= 1


def test_fractions_are_nested():
    samples = data_list(97, 31, 11, 5, 2, 1)
    for seed in (0, 5):
        before = set()
        for fraction in (0.01, 0.1, 0.5, 0.8, 1):
            now = {s['img_path'] for s in take_subset(samples, fraction, seed)}
            assert before < now
            before = now


def test_every_class_keeps_an_image():
    samples = data_list(1000, *[1] * 19)
    assert len(counts(take_subset(samples, 20 / 1019))) == 20
    assert sum(counts(take_subset(samples, 10 / 1019)).values()) == 10
    assert max(counts(take_subset(samples, 10 / 1019)).values()) == 1
    assert len(take_subset(samples, 1e-6)) == 1


def test_the_seed_decides():
    samples = data_list(100, 100)
    assert take_subset(samples, 0.5, 3) == take_subset(samples, 0.5, 3)
    assert take_subset(samples, 0.5, 3) != take_subset(samples, 0.5, 4)
    assert take_subset(samples, 1.0, 3) == samples
    first = {s['img_path'] for s in take_subset(samples, 0.1, 0)}
    assert first != {s['img_path'] for s in samples[:20]}


@pytest.mark.parametrize('fraction', [0, -0.1, 1.1, 10, float('nan'), '0.1', None, True])
def test_fractions_out_of_range(fraction, tmp_path):
    make_vtab_task(tmp_path, 'dtd', 47)
    with pytest.raises(ValueError, match=r'is not a share above 0.*10 % as 0\.1'):
        VTAB1k(str(tmp_path), 'dtd', 'train800', subset=fraction)


@pytest.mark.parametrize('seed', [-1, 1.0, None, '0', 2**32])
def test_seeds_out_of_range(seed):
    with pytest.raises(ValueError, match='subset_seed'):
        take_subset(data_list(3), 0.5, seed)


def test_vtab(tmp_path):
    counts = {'train800': 80, 'val200': 20, 'train800val200': 100, 'test': 10}
    make_vtab_task(tmp_path, 'eurosat', 10, counts)
    for split in ('train800', 'train800val200'):
        whole = VTAB1k(str(tmp_path), 'eurosat', split)
        part = VTAB1k(str(tmp_path), 'eurosat', split, subset=0.5, subset_seed=2)
        assert len(part) == counts[split] / 2
        everything = [whole.get_data_info(i)['img_path'] for i in range(len(whole))]
        chosen = [part.get_data_info(i)['img_path'] for i in range(len(part))]
        assert set(chosen) < set(everything)
        assert '0.5 (seed 2)' in repr(part)
    for split in ('val200', 'test'):
        with pytest.raises(ValueError, match=f'{split}.*only training splits'):
            VTAB1k(str(tmp_path), 'eurosat', split, subset=0.5)
        assert len(VTAB1k(str(tmp_path), 'eurosat', split, subset=1.0)) == counts[split]


def test_fgvc(tmp_path):
    labels = plan(102, train=4, val=1, test=1)
    json_set(tmp_path / 'OxfordFlowers', '', list(range(1, 103)), labels)
    for split, size in (('train', 204), ('trainval', 255)):
        part = FGVC(str(tmp_path), 'flowers', split, subset=0.5)
        assert len(part) == size
        infos = [part.get_data_info(i) for i in range(size)]
        assert all(label_in(info['img_path']) == info['gt_label'] for info in infos)
        assert {info['gt_label'] for info in infos} == set(range(102))
    for split in ('val', 'test'):
        with pytest.raises(ValueError, match='only training splits'):
            FGVC(str(tmp_path), 'flowers', split, subset=0.5)


def test_few_shot_has_no_subset(tmp_path):
    with pytest.raises(ValueError, match='subset=0.5.*num_shots'):
        FewShotFGVC(str(tmp_path), 'pets', 1, 0, 'train', subset=0.5)


@pytest.mark.parametrize('seed', [0, 3])
def test_shots_are_balanced_and_nested(seed):
    samples = data_list(97, 31, 11, 8)
    before = []
    for shots in (1, 2, 5, 8):
        drawn = take_shots(samples, shots, seed)
        assert counts(drawn) == dict.fromkeys(range(4), shots)
        places = [samples.index(sample) for sample in drawn]
        assert places == sorted(places) and set(before) < set(places)
        before = places
    assert take_shots(samples, 5, seed) != take_shots(samples, 5, seed + 1)
    # One image of each class is also where fractions begin.
    assert take_shots(samples, 1, seed) == take_subset(samples, 4 / 147, seed)


def test_more_shots_than_the_smallest_class_has():
    with pytest.raises(ValueError, match='num_shots=4, but class 1 has only 3.*most'):
        take_shots(data_list(5, 3, 4), 4)
    assert len(take_shots(data_list(5, 3, 4), 3)) == 9


SETS = {
    'digits': Digits,
    'count': partial(GeneratedTask, 'count'),
    'dsprites-loc': partial(GeneratedTask, 'dsprites-loc'),
}


def pixels(dataset):
    return [(sample['img'].tobytes(), sample['gt_label']) for sample in dataset]


@pytest.mark.parametrize('name', SETS)
def test_parts_of_sets_without_files(name):
    build = SETS[name]
    whole = pixels(build('train800'))
    size = Counter(label for _, label in whole)
    before = set()
    for fraction in (0.1, 0.5):
        part = pixels(build('train800', subset=fraction))
        assert len(part) == 800 * fraction and before < set(part) < set(whole)
        before = set(part)
        for label, number in Counter(label for _, label in part).items():
            assert abs(number - fraction * size[label]) <= 1
    before = set()
    for shots in (1, 8, min(size.values())):
        part = pixels(build('train800', num_shots=shots))
        assert Counter(label for _, label in part) == dict.fromkeys(size, shots)
        assert before < set(part) <= set(whole)
        before = set(part)
    assert len(build('train800val200', subset=0.3)) == 300
    assert repr(build('train800', num_shots=2)).count('Shots: \t2') == 1
    assert repr(build('train800', subset=0.25)).count('Subset: \t0.25') == 1


@pytest.mark.parametrize('name', SETS)
def test_the_seed_of_the_set_draws_its_parts(name):
    build, options = SETS[name], dict(num_shots=3)
    expected = take_shots([*build('train800', seed=5)], 3, 5)
    found = [*build('train800', seed=5, **options)]
    assert pixels(found) == pixels(expected)
    assert pixels(found) == pixels(build('train800', seed=5, **options))
    assert pixels(found) != pixels(build('train800', seed=6, **options))


@pytest.mark.parametrize('name', SETS)
@pytest.mark.parametrize(
    'split, options, message',
    [
        ('train800', dict(subset=0.5, num_shots=2), 'subset=0.5 and num_shots=2.*one of'),
        ('train800', dict(num_shots=800), 'num_shots=800, but class .* has only'),
        ('train800', dict(num_shots=0), 'num_shots=0 must be a whole number'),
        ('train800', dict(num_shots=2.0), 'num_shots=2.0 must be a whole number'),
        ('train800', dict(num_shots=True), 'num_shots=True must be a whole number'),
        ('train800', dict(subset=0), 'subset=0 is not a share'),
        ('train800', dict(seed=-1, subset=0.5), '^the seed -1 is not an integer'),
        ('train800', dict(seed=None), '^the seed None is not an integer'),
        ('test', dict(num_shots=2), "num_shots=2 of the split 'test': only training"),
        ('val200', dict(subset=0.5), "subset=0.5 of the split 'val200': only training"),
    ],
)
def test_parts_that_can_not_be_had(name, split, options, message):
    with pytest.raises(ValueError, match=message):
        SETS[name](split, **options)

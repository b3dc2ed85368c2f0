"""Fractions of training sets."""

from collections import Counter

import pytest

from mmdmlora.datasets import FGVC, FewShotFGVC, VTAB1k, take_subset
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

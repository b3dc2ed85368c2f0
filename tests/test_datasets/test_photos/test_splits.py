"""Dividing photos: shares, copies, repeatability, and the lists."""

import pytest
from mmengine.fileio import list_from_file

from mmdmlora.datasets import CustomDataset
from mmdmlora.datasets.photos import PhotoTree, split_photos, write_lists


def tree(**counts):
    train = {k: [f'{k}/{i}.jpg' for i in range(n)] for k, n in counts.items()}
    return PhotoTree('/photos', dict(train=train))


def sizes(splits, kind):
    return tuple(len(splits[name][kind]) for name in ('train', 'val', 'test'))


@pytest.mark.parametrize(
    'count, expected',
    [(3, (1, 1, 1)), (4, (2, 1, 1)), (10, (6, 2, 2)), (100, (70, 15, 15))],
)
def test_each_class_gives_its_share(count, expected):
    splits = split_photos(tree(a=count, b=20))
    assert sizes(splits, 'a') == expected and sizes(splits, 'b') == (14, 3, 3)
    images = [path for split in splits.values() for path in split['a']]
    assert sorted(images) == sorted(tree(a=count).paths())


@pytest.mark.parametrize('count', [1, 2])
def test_too_few_images_are_refused(count):
    with pytest.raises(ValueError, match=f"class 'a' must have at least 3.*got {count}"):
        split_photos(tree(a=count, b=9))


def test_a_seed_gives_one_split_and_another_one_another():
    first, again, other = (split_photos(tree(a=40), seed=s) for s in (0, 0, 1))
    assert first == again != other


def test_other_classes_do_not_matter():
    assert (
        split_photos(tree(a=9))['test']['a'] == split_photos(tree(a=9, b=5))['test']['a']
    )


def test_copies_stay_together():
    twins = [['a/0.jpg', 'a/5.jpg'], ['a/1.jpg', 'a/2.jpg', 'a/3.jpg']]
    for seed in range(20):
        splits = split_photos(tree(a=8), twins, seed)
        for group in twins:
            homes = {n for n, split in splits.items() if set(group) & set(split['a'])}
            assert len(homes) == 1
    with pytest.raises(ValueError, match='got 2'):
        split_photos(tree(a=4), [['a/0.jpg', 'a/1.jpg', 'a/2.jpg']])


def test_splits_that_are_there_stay():
    given = {'a': ['val/a/1.jpg']}
    whole = PhotoTree('/photos', dict(tree(a=20).splits, val=given))
    splits = split_photos(whole)
    assert splits['val'] == given and sizes(splits, 'a') == (17, 1, 3)
    complete = PhotoTree('/photos', dict(whole.splits, test=given))
    splits = split_photos(complete)
    assert sizes(splits, 'a') == (20, 1, 1) and splits['test'] == given


def test_lists_are_read_as_they_were_written(tmp_path):
    names = {' b c': [' b c/ 1 .jpg'], "it's": ["it's/x 2.png", 'ä/ö.jpg']}
    write_lists(dict(train=names, val={}, test={"it's": ["it's/x 2.png"]}), tmp_path)
    files = dict(
        ann_file=str(tmp_path / 'train.txt'), classes=str(tmp_path / 'classes.txt')
    )
    dataset = CustomDataset(data_root='/photos', **files)
    found = [
        (info['img_path'], info['gt_label'])
        for info in map(dataset.get_data_info, range(3))
    ]
    assert [(path.replace('/./', '/'), label) for path, label in found] == [
        ('/photos/ b c/ 1 .jpg', 0),
        ("/photos/it's/x 2.png", 1),
        ('/photos/ä/ö.jpg', 1),
    ]
    assert dataset.metainfo['classes'] == (' b c', "it's")
    assert list_from_file(tmp_path / 'test.txt') == ["it's/x 2.png 1"]

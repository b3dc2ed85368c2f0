"""What a check of photos finds, and which folders are photos."""

import json
import os

import pytest

from mmdmlora.datasets.photos import (
    check_photos,
    is_photo_tree,
    may_be_photos,
    photos_as_text,
)
from tests.photos import write_photo


def fill(root, **counts):
    """Classes (``__`` stands for a slash) of different photos."""
    for seed, (name, count) in enumerate(counts.items()):
        folder = root / name.replace('__', '/')
        folder.mkdir(parents=True)
        for number in range(count):
            write_photo(folder / f'{number}.jpg', 1000 * seed + number)
    return root


def test_good_photos(tmp_path):
    report = check_photos(fill(tmp_path, cat=4, dog=3))
    assert report.ok and not report.notes
    assert report.counts() == dict(train=dict(cat=4, dog=3))
    text = photos_as_text(report)
    assert '2 classes, 7 images: all is well.' in text
    json.dumps(report.as_json())


def test_damaged_images_are_named(tmp_path):
    fill(tmp_path, cat=4, dog=4)
    cut = tmp_path / 'cat/0.jpg'
    cut.write_bytes(cut.read_bytes()[:-5])
    (tmp_path / 'dog/x y.heic').write_text('no image')
    report = check_photos(tmp_path)
    assert report.bad_images == {
        str(cut): 'is cut off',
        str(tmp_path / 'dog/x y.heic'): 'is not an image',
    }
    assert not report.ok and not report.errors
    assert report.tree.splits['train']['cat'] == [f'cat/{n}.jpg' for n in (1, 2, 3)]
    assert "the file is cut off: '" in photos_as_text(report)
    assert check_photos(tmp_path, fast=True).ok


@pytest.mark.parametrize(
    'counts, message',
    [
        (dict(cat=3), 'at least 2 classes, got 1'),
        (dict(cat=3, dog=0), "class 'dog' has no image"),
        (dict(cat=3, dog=2), "class 'dog' must have at least 3 different images"),
        (dict(cat=3, dog=1), 'for train and val and test, got 1'),
        (
            dict(train__a=3, train__b=3, test__a=1, test__c=1),
            "test/ has classes that train/ lacks: 'c'",
        ),
        (dict(train__a=3, train__b=3, val__a=0), 'val/ has no images'),
        (dict(train__a=2, train__b=1, test__a=1), "class 'b' must have at least 2"),
    ],
)
def test_errors(tmp_path, counts, message):
    report = check_photos(fill(tmp_path, **counts))
    assert [error for error in report.errors if message in error], report.errors


def copy(tmp_path, source, target):
    (tmp_path / target).write_bytes((tmp_path / source).read_bytes())


def test_copies(tmp_path):
    fill(tmp_path, train__a=4, train__b=4, test__a=2, test__b=2)
    copy(tmp_path, 'train/a/0.jpg', 'train/a/copy.jpg')
    report = check_photos(tmp_path)
    assert report.ok and '1 file with the content of another one' in report.notes[0]
    copy(tmp_path, 'train/a/1.jpg', 'test/a/copy.jpg')
    copy(tmp_path, 'train/a/2.jpg', 'train/b/copy.jpg')
    splits, classes = check_photos(tmp_path).errors
    assert splits.startswith('1 image in two splits') and "'test/a/copy.jpg'" in splits
    assert (
        classes.startswith('1 image in two classes') and "'train/b/copy.jpg'" in classes
    )


def test_only_copies_are_too_few(tmp_path):
    fill(tmp_path, a=3, b=1)
    for name in ('x', 'y', 'z'):
        copy(tmp_path, 'b/0.jpg', f'b/{name}.jpg')
    (error,) = check_photos(tmp_path).errors
    assert "class 'b'" in error and 'got 1' in error


def test_notes(tmp_path):
    fill(tmp_path, train__a=23, train__b=2, test__a=1)
    (tmp_path / 'readme.txt').touch()
    report = check_photos(tmp_path)
    assert report.ok
    absent, unequal, others = report.notes
    assert absent == "test/ has no images of 'b'."
    assert "'a' has 23 images, 'b' 2" in unequal
    assert "'readme.txt'" in others


def test_names_that_no_list_can_hold(tmp_path):
    fill(tmp_path, a=3, b=3)
    write_photo(tmp_path / 'a/x\ny.jpg', 77)
    os.rename(tmp_path / 'b/0.jpg', os.fsencode(tmp_path / 'b') + b'/\xff.jpg')
    report = check_photos(tmp_path)
    assert len(report.errors) == 2 and 'no UTF-8' in photos_as_text(report)


@pytest.mark.parametrize(
    'names, expected',
    [
        (['dogs/1.jpg', 'cats/1.jpg'], True),  # dogs is a folder of FGVC, too
        (['cats/1.jpg', 'dogs/'], True),
        (['train/cats/1.jpg', 'train/dogs/1.jpg', 'val/cats/'], True),
        (['train/1.jpg', 'plane/1.jpg'], True),
        (['cifar/images/test/1.jpg', 'cifar/test.txt'], False),
        (['cub/images/001/1.jpg', 'source/1.jpg'], False),
        (['cars_train/1.jpg', 'cars_test/1.jpg', 'train.json'], False),
        (['cats/indoors/1.jpg', 'dogs/1.jpg'], False),
    ],
)
def test_which_folders_are_photos(tmp_path, names, expected):
    for name in names:
        path = tmp_path / name
        (path if name.endswith('/') else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith('/'):
            path.touch()
    assert is_photo_tree(tmp_path) == expected


def test_which_other_folders_may_be(tmp_path):
    fill(tmp_path, cats__indoors=1)
    assert not may_be_photos(tmp_path) and not may_be_photos(tmp_path / 'none')
    fill(tmp_path, dogs__out=1)
    assert may_be_photos(tmp_path)
    assert may_be_photos(tmp_path / 'cats/indoors')

"""Which classes, splits and images a folder of photos has."""

import pytest

from mmdmlora.datasets.images import find_file_fault
from mmdmlora.datasets.photos import read_tree
from tests.photo_kinds import KINDS, draw, make_tree, np, write_kind


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b'')
    return root


def test_a_folder_a_class(tmp_path):
    tree = read_tree(
        touch(tmp_path, 'house cat/1.JPG', 'house cat/in doors/2.webp', 'dog/a b.gif')
    )
    assert tree.classes == ['dog', 'house cat']
    assert tree.splits == dict(
        train={
            'dog': ['dog/a b.gif'],
            'house cat': ['house cat/1.JPG', 'house cat/in doors/2.webp'],
        }
    )


@pytest.mark.parametrize(
    'folders, splits',
    [
        (['train', 'val', 'test'], ['train', 'val', 'test']),
        (['Train', 'Valid'], ['train', 'val']),
        (['training', 'testing'], ['train', 'test']),
        (['train'], ['train']),
        (['train', 'unlabelled'], ['train']),
    ],
)
def test_splits(tmp_path, folders, splits):
    for folder in folders:
        touch(tmp_path, f'{folder}/a/1.jpg', f'{folder}/b/1.jpg')
    tree = read_tree(tmp_path)
    assert list(tree.splits) == splits
    for folder, split in zip(folders, splits, strict=False):
        assert tree.splits[split]['b'] == [f'{folder}/b/1.jpg']
    assert tree.others == tuple(folders[len(splits) :])


def test_a_class_may_be_called_train(tmp_path):
    tree = read_tree(touch(tmp_path, 'train/1.jpg', 'plane/1.jpg'))
    assert tree.classes == ['plane', 'train']


def test_hidden_files_are_passed_over_and_others_named(tmp_path):
    touch(tmp_path, 'a/1.jpg', 'a/.DS_Store', 'a/Thumbs.db', '.git/x.jpg', 'b/._1.jpg')
    tree = read_tree(touch(tmp_path, 'readme.txt', 'b/1.mp4'))
    assert tree.paths() == ['a/1.jpg'] and tree.splits['train']['b'] == []
    assert set(tree.others) == {'readme.txt', 'b/1.mp4'}


def test_links_are_followed_and_loops_end(tmp_path):
    touch(tmp_path, 'store/1.jpg', 'photos/a/2.jpg', 'photos/b/3.jpg')
    (tmp_path / 'photos/a/more').symlink_to(tmp_path / 'store')
    (tmp_path / 'photos/b/loop').symlink_to(tmp_path / 'photos/b')
    tree = read_tree(tmp_path / 'photos')
    assert tree.splits['train'] == {'a': ['a/2.jpg', 'a/more/1.jpg'], 'b': ['b/3.jpg']}


@pytest.mark.parametrize(
    'names, message',
    [
        (['1.jpg', '2.png'], 'it holds 2 images, but no folder'),
        ([], 'must have a folder of photos for each class.*got none'),
        (['val/a/1.jpg', 'test/a/1.jpg'], 'no folder train/'),
        (['train/a/1.jpg', 'val/a/1.jpg', 'valid/a/1.jpg'], 'two folders for the split'),
    ],
)
def test_what_is_no_tree(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        read_tree(touch(tmp_path, *names))


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match='there is no folder'):
        read_tree(tmp_path / 'none')


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_can_be_read(tmp_path, kind):
    path = tmp_path / f'a b.{kind}'
    write_kind(draw('red ball', np.random.RandomState(0)), path)
    assert find_file_fault(str(path)) is None


def test_the_tree_of_the_tests(tmp_path):
    assert len(read_tree(make_tree(tmp_path, 4)).paths()) == 12

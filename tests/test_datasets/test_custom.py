"""Folders and lists of any images, and those that are left out."""

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmpretrain.datasets import CustomDataset as StockCustomDataset
from mmpretrain.registry import DATASETS
from PIL import Image

from mmdmlora.datasets import CustomDataset

LOADING = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]


@pytest.fixture
def folder(tmp_path):
    """Two classes of three images, of which two can't be read."""
    for name in ('cat', 'dog'):
        (tmp_path / name).mkdir()
        for number in range(3):
            pixels = np.random.RandomState(number).randint(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f'{number}.jpg')
    cut = tmp_path / 'cat/1.jpg'
    cut.write_bytes(cut.read_bytes()[:-9])
    (tmp_path / 'dog/2.jpg').write_text('<html></html>')
    return tmp_path


def test_corrupt_images_are_left_out_and_counted(folder):
    dataset = CustomDataset(str(folder), skip_corrupt=True, pipeline=LOADING)
    assert dataset.skipped == {
        f'{folder}/cat/1.jpg': 'is cut off',
        f'{folder}/dog/2.jpg': 'is not an image',
    }
    assert dataset.metainfo == dict(classes=('cat', 'dog'), num_skipped=2)
    assert dataset.get_gt_labels().tolist() == [0, 0, 1, 1]
    assert all(dataset[i]['inputs'].shape == (3, 8, 8) for i in range(4))


def test_without_the_option_it_is_mmpretrains(folder):
    dataset, stock = (kind(str(folder)) for kind in (CustomDataset, StockCustomDataset))
    assert dataset.load_data_list() == stock.load_data_list()
    assert dataset.metainfo == stock.metainfo and len(dataset) == 6


def test_of_a_list_what_is_no_file_is_left_out(folder):
    (folder / 'dog/folder.jpg').mkdir()
    lines = ['cat/0.jpg 0', 'cat/none.jpg 0', 'dog/folder.jpg 1', 'dog/0.jpg 1']
    (folder / 'list.txt').write_text('\n'.join(lines))
    options = dict(ann_file='list.txt', metainfo=dict(classes=('cat', 'dog')))
    dataset = CustomDataset(str(folder), skip_corrupt=True, **options)
    assert list(dataset.skipped.values()) == ['is missing', 'is a folder']
    assert dataset.get_gt_labels().tolist() == [0, 1]


def test_nothing_left(folder):
    for file in folder.glob('*/*.jpg'):
        file.write_bytes(b'')
    with pytest.raises(ValueError, match=f'6 of 6 images of {folder}.*Nothing is left'):
        CustomDataset(str(folder), skip_corrupt=True)


def test_the_step_of_the_pipeline_decides(folder):
    """mmcv's step by its settings: Pillow names what it can't decode."""
    damaged = folder / 'cat/2.png'
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(damaged)
    content = bytearray(damaged.read_bytes())
    content[60] ^= 255
    damaged.write_bytes(content)
    step = dict(type='LoadImageFromFile', imdecode_backend='pillow')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = CustomDataset(str(folder), skip_corrupt=True, pipeline=[step])
    assert dataset.skipped[str(damaged)].startswith('cannot be decoded by pillow')


@pytest.mark.parametrize(
    'scope, name, expected',
    [
        ('mmdmlora', 'CustomDataset', CustomDataset),
        ('mmpretrain', 'CustomDataset', StockCustomDataset),
        ('mmpretrain', 'mmdmlora.CustomDataset', CustomDataset),
    ],
)
def test_the_scope_decides_which_is_built(folder, scope, name, expected):
    with DefaultScope.overwrite_default_scope(scope):
        built = DATASETS.build(dict(type=name, data_root=str(folder)))
    assert type(built) is expected

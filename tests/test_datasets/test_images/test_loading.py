"""Loading images, whole and damaged, and looking for damaged files."""

import io

import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile as MMCVLoadImageFromFile
from mmengine.config import Config
from mmengine.fileio import LocalBackend
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import TRANSFORMS as MMPRETRAIN_TRANSFORMS
from PIL import Image
from torch.utils.data import DataLoader

from mmdmlora.datasets import LoadImageFromFile, VTAB1k
from mmdmlora.datasets.images.faults import find_file_fault
from mmdmlora.engine.export import stock_config
from tests.trees import make_vtab_task
from tests.wrapped_data import WRAPPERS

KINDS = ('JPEG', 'PNG', 'BMP', 'WEBP', 'TIFF', 'PPM')


def picture(size=(60, 40)):
    pixels = np.random.RandomState(0).randint(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(kind, **options):
    stream = io.BytesIO()
    picture().save(stream, kind, **options)
    return stream.getvalue()


def changed(data):
    """The same with a byte in the middle that is another."""
    data = bytearray(data)
    data[len(data) // 2] ^= 255
    return bytes(data)


@pytest.fixture
def file(tmp_path):
    return tmp_path / 'a b.jpg'


def load(file, **options):
    return LoadImageFromFile(**options).transform({'img_path': str(file)})


def refusal(file, **options):
    with pytest.raises(ValueError) as error:
        load(file, **options)
    message = str(error.value)
    assert str(file) in message and 'skip_corrupt' in message and '\n' not in message
    return message.removeprefix(f'The image {str(file)!r} ').partition('. ')[0]


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'to_float32': True},
        {'color_type': 'grayscale'},
        {'imdecode_backend': 'pillow', 'color_type': 'unchanged'},
    ],
)
def test_whole_images_are_loaded_as_by_mmcv(file, kind, options):
    file.write_bytes(encoded(kind))
    ours = load(file, **options)
    stock = MMCVLoadImageFromFile(**options).transform({'img_path': str(file)})
    assert ours.keys() == stock.keys()
    assert ours['img'].dtype == stock['img'].dtype
    np.testing.assert_array_equal(ours['img'], stock['img'])
    assert ours['img_shape'] == stock['img_shape'] == (60, 40)
    assert ours['ori_shape'] == stock['ori_shape']


def test_an_image_is_read_once(file, monkeypatch):
    file.write_bytes(encoded('JPEG'))
    reads = []
    get = LocalBackend.get
    monkeypatch.setattr(
        LocalBackend, 'get', lambda self, path: reads.append(path) or get(self, path)
    )
    load(file, backend_args={'backend': 'local'})
    assert reads == [str(file)]


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('kind', [*KINDS, 'GIF'])
def test_cut_images_are_refused(file, kind, backend):
    data = encoded(kind)
    for length in (len(data) // 2, len(data) - 20):
        file.write_bytes(data[:length])
        assert 'cut off' in refusal(file) or 'cannot be decoded' in refusal(file)
        assert refusal(file, imdecode_backend=backend)
        assert find_file_fault(str(file))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_a_decoder_that_draws_half_an_image_is_not_asked(file, kind, monkeypatch):
    """As OpenCV 4 does with JPEG files: its picture must not be taken."""
    half = np.zeros((60, 40, 3), np.uint8)
    monkeypatch.setattr('mmcv.imfrombytes', lambda *args, **kwargs: half)
    data = encoded(kind)
    file.write_bytes(data)
    assert load(file)['img'] is half
    for damaged in (data[:-1], data[: len(data) // 2].ljust(len(data), b'\0')):
        file.write_bytes(damaged)
        assert refusal(file) == 'is cut off'


@pytest.mark.parametrize(
    'data, fault',
    [
        (b'', 'is empty'),
        (b'<html>404</html>', 'is not an image'),
        (bytes(5000), 'is not an image'),
        (changed(encoded('PNG')), 'cannot be decoded by cv2'),
    ],
)
def test_other_damage_is_refused(file, data, fault):
    file.write_bytes(data)
    assert refusal(file) == fault
    assert find_file_fault(str(file)) == fault


def test_the_complaint_of_a_decoder_is_passed_on(file):
    file.write_bytes(changed(encoded('PNG')))
    assert refusal(file, imdecode_backend='pillow').startswith(
        'cannot be decoded by pillow ('
    )


def test_an_image_that_pillow_does_not_know_is_loaded(file):
    """Radiance HDR: OpenCV reads it."""
    import cv2

    data = cv2.imencode('.hdr', np.ones((8, 9, 3), np.float32))[1].tobytes()
    file.write_bytes(data)
    assert load(file)['img_shape'] == (8, 9)
    assert find_file_fault(str(file)) is None


def test_no_other_image_is_taken_instead():
    """As mmengine does in training when a pipeline returns None."""
    with pytest.raises(TypeError, match='ignore_empty'):
        LoadImageFromFile(ignore_empty=True)


@pytest.mark.parametrize('workers, test_mode', [(0, False), (0, True), (1, False)])
def test_the_fault_leaves_data_sets_and_workers(tmp_path, workers, test_mode):
    folder = make_vtab_task(tmp_path, 'dtd', 47)
    file = folder / 'images/train800/000002.jpg'
    file.write_bytes(file.read_bytes()[:-2])
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    dataset = VTAB1k(str(tmp_path), 'dtd', 'train800', pipeline, test_mode=test_mode)
    loader = DataLoader(dataset, num_workers=workers, collate_fn=list)
    with pytest.raises(ValueError) as error:
        list(loader)
    assert f'The image {str(file)!r} is cut off. Fetch it again' in str(error.value)


# Which of the two classes a name means


def test_the_scope_decides():
    config = dict(type='LoadImageFromFile')
    with DefaultScope.overwrite_default_scope('mmdmlora'):
        assert type(MMPRETRAIN_TRANSFORMS.build(config)) is LoadImageFromFile
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        assert type(MMPRETRAIN_TRANSFORMS.build(config)) is MMCVLoadImageFromFile
        config['type'] = 'mmdmlora.LoadImageFromFile'
        assert type(MMPRETRAIN_TRANSFORMS.build(config)) is LoadImageFromFile


def test_an_exported_config_has_mmcvs(tmp_path):
    make_vtab_task(tmp_path, 'dtd', 47)
    for name in ('LoadImageFromFile', 'mmdmlora.LoadImageFromFile'):
        pipeline = [dict(type=name), dict(type='PackInputs')]
        dataset = dict(type='VTAB1k', pipeline=pipeline)
        stock = stock_config(
            Config(dict(model=dict(), test_dataloader=dict(dataset=dataset)))
        )
        types = [step.type for step in stock.test_dataloader.dataset.pipeline]
        assert types == ['LoadImageFromFile', 'PackInputs']


@pytest.mark.parametrize('wrap', WRAPPERS.values(), ids=WRAPPERS)
def test_an_exported_config_has_the_pipeline_of_wrapped_data(wrap):
    dataset = dict(type='VTAB1k', pipeline=[dict(type='PackInputs')])
    stock = stock_config(
        Config(dict(model=dict(), test_dataloader=dict(dataset=wrap(dataset))))
    )
    types = [step.type for step in stock.test_dataloader.dataset.pipeline]
    assert types == ['LoadImageFromFile', 'PackInputs']


def test_a_runner_builds_ours_from_the_scope_of_the_config(tmp_path):
    make_vtab_task(tmp_path, 'dtd', 47)
    with DefaultScope.overwrite_default_scope('mmdmlora'):
        loader = Runner.build_dataloader(
            dict(
                batch_size=2,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(
                    type='VTAB1k',
                    data_root=str(tmp_path),
                    task='dtd',
                    split='test',
                    lazy_init=True,
                    pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
                ),
            )
        )
    assert type(loader.dataset.pipeline.transforms[0]) is LoadImageFromFile
    assert torch.stack(next(iter(loader))['inputs']).shape == (2, 3, 8, 8)

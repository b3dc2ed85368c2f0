"""Encoded images, whole and cut off, as they are judged without decoding."""

import io

import pytest
from PIL import Image

from mmdmlora.datasets.images.header import find_cut


def encoded(kind, size=40, **options):
    stream = io.BytesIO()
    Image.effect_noise((size, size), 60).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'GIF', 'WEBP', 'TIFF'])
def test_whole_images_have_no_find_cut(kind):
    assert find_cut(encoded(kind)) is None


@pytest.mark.parametrize('progressive', [False, True])
@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
@pytest.mark.parametrize('cut', [1, 2, 20, 500])
def test_cut_images_are_found(kind, cut, progressive):
    data = encoded(kind, progressive=progressive)
    assert find_cut(data[:-cut]) == 'is cut off'
    assert find_cut(data[:-cut] + bytes(cut)) == 'is cut off'


def test_cut_headers_are_found():
    assert find_cut(encoded('JPEG')[:40]) == 'is cut off'


@pytest.mark.parametrize('size', [40, 200])
def test_the_end_of_a_thumbnail_is_not_the_end_of_the_image(size):
    header = b'Exif\x00\x00' + encoded('JPEG')
    data = encoded('JPEG', size, exif=header)
    assert find_cut(data) is None
    assert find_cut(data[:-2]) == 'is cut off'
    header_end = data.index(b'\xff\xda', len(header))
    assert find_cut(data[: header_end + 200]) == 'is cut off'


@pytest.mark.parametrize('length', [300, 20_000])
@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_bytes_behind_the_image_are_no_find_cut(kind, length):
    assert find_cut(encoded(kind) + b'x' * length) is None


def test_a_cut_image_of_several_is_found():
    second = Image.effect_noise((200, 200), 60)
    stream = io.BytesIO()
    Image.effect_noise((40, 40), 60).save(
        stream, 'MPO', save_all=True, append_images=[second]
    )
    data = stream.getvalue()
    assert find_cut(data) is None
    assert find_cut(data[:1000]) == 'is cut off'


@pytest.mark.parametrize(
    'options',
    [{'progressive': True}, {'dpi': (72, 72)}, {'comment': b'\xff\xd9\xff\xda'}],
)
def test_segments_of_a_jpeg_header_are_passed_over(options):
    data = encoded('JPEG', **options)
    assert find_cut(data) is None
    assert find_cut(data[:-2]) == 'is cut off'


def test_fillings_between_the_segments_are_passed_over():
    data = encoded('JPEG')
    filled = data[:2] + b'\xff\xff' + data[2:]
    assert find_cut(filled) is None
    assert find_cut(filled[:-2]) == 'is cut off'


@pytest.mark.parametrize(
    'start', [b'\xff\xd8\xff', b'\xff\xd8\xff\xe0', b'\xff\xd8\xff\xe0\0\0\0']
)
def test_a_header_that_is_only_begun_is_cut_off(start):
    assert find_cut(start) == 'is cut off'


def test_what_is_empty_and_what_is_no_image():
    assert find_cut(b'') == 'is empty'
    for other in (b'<html>404</html>', b'\xff\xd8', bytes(5000), b'\x89PNG'):
        assert find_cut(other) is None

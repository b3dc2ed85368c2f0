"""Encoded images, whole and damaged, as they are judged without decoding."""

import io

import pytest
from PIL import Image

from mmdmlora.datasets.images.header import TAIL, find_fault


def encoded(kind, size=40, **options):
    stream = io.BytesIO()
    Image.effect_noise((size, size), 60).save(stream, kind, **options)
    return stream.getvalue()


def fault(data):
    return find_fault(io.BytesIO(data))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'GIF', 'WEBP', 'TIFF'])
def test_whole_images_have_no_fault(kind):
    assert fault(encoded(kind)) is None


@pytest.mark.parametrize('progressive', [False, True])
@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
@pytest.mark.parametrize('cut', [1, 2, 20, 500])
def test_cut_images_are_found(kind, cut, progressive):
    data = encoded(kind, progressive=progressive)
    assert fault(data[:-cut]) == 'is cut off'
    assert fault(data[:-cut] + bytes(cut)) == 'is cut off'


def test_cut_headers_are_found():
    assert fault(encoded('JPEG')[:40]) == 'is cut off'


@pytest.mark.parametrize('size', [40, 200])
def test_the_end_of_a_thumbnail_is_not_the_end_of_the_image(size):
    header = b'Exif\x00\x00' + encoded('JPEG')
    data = encoded('JPEG', size, exif=header)
    assert fault(data) is None
    assert fault(data[:-2]) == 'is cut off'
    header_end = data.index(b'\xff\xda', len(header))
    assert fault(data[: header_end + 200]) == 'is cut off'


@pytest.mark.parametrize('length', [300, TAIL, 5 * TAIL])
@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_bytes_behind_the_image_are_no_fault(kind, length):
    assert fault(encoded(kind) + b'x' * length) is None


def test_a_cut_image_of_several_is_found():
    second = Image.effect_noise((200, 200), 60)
    stream = io.BytesIO()
    Image.effect_noise((40, 40), 60).save(
        stream, 'MPO', save_all=True, append_images=[second]
    )
    data = stream.getvalue()
    assert fault(data) is None
    assert fault(data[:1000]) == 'is cut off'


def test_other_faults(tmp_path):
    assert fault(b'') == 'is empty'
    assert fault(b'<html><body>404</body></html>') == 'is not an image'
    assert fault(bytes(5000)) == 'is not an image'


def test_what_the_system_refuses_is_no_fault_of_the_image():
    class Broken(io.BytesIO):
        def read(self, *args):
            raise OSError(5, 'Input/output error')

    with pytest.raises(OSError, match='Input/output error'):
        find_fault(Broken(encoded('JPEG')))

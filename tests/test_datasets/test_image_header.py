"""Image files, whole and damaged, as they are judged without decoding."""

import io

import pytest
from PIL import Image

from mmdmlora.datasets.image_header import find_fault


def encoded(kind, **options):
    stream = io.BytesIO()
    Image.effect_noise((40, 40), 60).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'GIF', 'WEBP'])
def test_whole_images_have_no_fault(tmp_path, kind):
    file = tmp_path / 'misnamed.jpg'
    file.write_bytes(encoded(kind))
    assert find_fault(str(file)) is None


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
@pytest.mark.parametrize('cut', [1, 2, 20, 500])
def test_cut_images_are_found(tmp_path, kind, cut):
    data = encoded(kind)
    file = tmp_path / 'a.jpg'
    file.write_bytes(data[:-cut])
    assert find_fault(str(file)) == 'is cut off'
    file.write_bytes(data[:-cut] + bytes(cut))
    assert find_fault(str(file)) == 'is cut off'


def test_cut_headers_are_found(tmp_path):
    file = tmp_path / 'a.jpg'
    file.write_bytes(encoded('JPEG')[:40])
    assert find_fault(str(file)) == 'is cut off'


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_image(tmp_path):
    file = tmp_path / 'a.jpg'
    header = b'Exif\x00\x00' + encoded('JPEG')
    Image.effect_noise((200, 200), 60).save(file, 'JPEG', exif=header)
    assert find_fault(str(file)) is None
    file.write_bytes(file.read_bytes()[:-2])
    assert find_fault(str(file)) == 'is cut off'


def test_bytes_behind_the_image_are_no_fault(tmp_path):
    file = tmp_path / 'a.jpg'
    file.write_bytes(encoded('JPEG') + b'made by a camera' * 20)
    assert find_fault(str(file)) is None


def test_other_faults(tmp_path):
    file = tmp_path / 'a.jpg'
    assert find_fault(str(file)) == 'is missing'
    file.write_bytes(b'')
    assert find_fault(str(file)) == 'is empty'
    file.write_bytes(b'<html><body>404</body></html>')
    assert find_fault(str(file)) == 'is not an image'
    assert find_fault(str(tmp_path)).startswith('cannot be read (')

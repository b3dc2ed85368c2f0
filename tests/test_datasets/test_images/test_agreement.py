"""The check of the data and training say the same of every file."""

import io
import os

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdmlora.datasets import CustomDataset, LoadImageFromFile
from mmdmlora.datasets.images import find_file_fault


def picture(mode='RGB', size=(32, 24)):
    pixels = np.random.RandomState(0).randint(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def rotated(turns):
    exif = Image.Exif()
    exif[0x0112] = turns
    return encoded(picture(), 'JPEG', exif=exif)


def deep_png():
    return cv2.imencode('.png', np.full((24, 32), 40_000, np.uint16))[1].tobytes()


def animated(kind):
    frames = [picture().rotate(90 * turn) for turn in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


def with_huge_text():
    """Pillow refuses a text that unpacks to more than a mebibyte."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text('comment', 'x' * 2**21, zip=True)
    return encoded(picture(), 'PNG', pnginfo=info)


JPEG = encoded(picture(), 'JPEG')
SOUND = {
    'CMYK': lambda: encoded(picture('CMYK'), 'JPEG'),
    'grey': lambda: encoded(picture('L'), 'JPEG'),
    'grey with 16 bits': deep_png,
    'an animated PNG': lambda: animated('PNG'),
    'an animated WebP': lambda: animated('WEBP'),
    'several pictures in one file': lambda: animated('MPO'),
    'a palette': lambda: encoded(picture('P'), 'PNG'),
    'black and white': lambda: encoded(picture('1'), 'PNG'),
    'transparent': lambda: encoded(picture('RGBA'), 'PNG'),
    'turned by EXIF': lambda: rotated(6),
    'an unknown turn in EXIF': lambda: rotated(99),
    'a long text in a PNG': with_huge_text,
    'a film behind the picture': lambda: JPEG + bytes(10_000),
}
DAMAGED = {
    'no byte': b'',
    'a web page': b'<!DOCTYPE html><html><body>404</body></html>',
    'zeros': bytes(5000),
    'a JPEG cut in its header': JPEG[:40],
    'a JPEG cut in its picture': JPEG[:-20],
    'the end of a JPEG as zeros': JPEG[:-20] + bytes(20),
    'a PNG cut off': encoded(picture(), 'PNG')[:-20],
    'the start of a TIFF': b'II*\0' + b'\xff' * 40,
    'a TIFF of nonsense': b'MM\0*\0\0\0\x08' + bytes(range(256)) * 4,
    'PostScript': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 x\n',
    'an icon of nonsense': b'\0\0\1\0\xff\xff' + b'\xff' * 100,
    'a film': b'\0\0\0\x18ftypmp42' + bytes(200),
    'an archive': b'PK\3\4' + bytes(100),
    'a JPEG without a frame': b'\xff\xd8\xff\xda' + bytes(10) + b'\xff\xd9',
    'a JPEG of nonsense': b'\xff\xd8\xff\xc0' + bytes(range(255)) + b'\xff\xd9',
}


def judged(path):
    """What the check, the loading step and a data set say; None where they take it."""
    try:
        LoadImageFromFile().transform({'img_path': str(path)})
        refusal = None
    except ValueError as error:
        refusal = str(error)
    return find_file_fault(str(path)), refusal


@pytest.mark.parametrize('name', SOUND)
def test_sound_images(tmp_path, name):
    file = tmp_path / 'a.jpg'
    file.write_bytes(SOUND[name]())
    assert judged(file) == (None, None)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('limit', [1, 500])
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'WEBP', 'TIFF', 'PPM'])
def test_no_image_is_too_large(tmp_path, monkeypatch, kind, limit):
    """Pillow refuses images of more than 179 megapixels, and warns from the half on."""
    file = tmp_path / 'a.jpg'
    file.write_bytes(encoded(picture(), kind))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)
    assert judged(file) == (None, None)


@pytest.mark.filterwarnings('ignore:Corrupt EXIF data')
@pytest.mark.parametrize('name', DAMAGED)
def test_damaged_files(tmp_path, name):
    file = tmp_path / 'a.jpg'
    file.write_bytes(DAMAGED[name])
    fault, refusal = judged(file)
    assert fault and f'{str(file)!r} {fault}. Fetch it again' in refusal


@pytest.mark.parametrize(
    'make, expected',
    [
        (lambda path: path.mkdir(), 'is a folder'),
        (lambda path: os.mkfifo(path), 'is no regular file'),
        (lambda path: path.symlink_to('/dev/zero'), 'is no regular file'),
        (lambda path: path.symlink_to(path.parent / 'none'), 'is missing'),
        (lambda path: path, 'is missing'),
    ],
)
def test_what_is_no_file(tmp_path, make, expected):
    path = tmp_path / 'a.jpg'
    make(path)
    fault, refusal = judged(path)
    assert fault == expected and f'{fault}. Fetch it again' in refusal


def test_what_the_system_refuses_stays_an_error_of_the_system(tmp_path, monkeypatch):
    """It may be over in a moment: such an image must not be left out."""
    file = tmp_path / 'a.jpg'
    file.write_bytes(JPEG)

    def refuse(*args, **kwargs):
        raise PermissionError(13, 'Permission denied', str(file))

    monkeypatch.setattr('mmengine.fileio.LocalBackend.get', refuse)
    assert find_file_fault(str(file)) == 'cannot be read (Permission denied)'
    with pytest.raises(PermissionError):
        LoadImageFromFile().transform({'img_path': str(file)})
    with pytest.raises(PermissionError):
        CustomDataset(str(tmp_path), with_label=False, skip_corrupt=True)


def test_a_link_that_leads_to_itself_is_named(tmp_path):
    path = tmp_path / 'a.jpg'
    path.symlink_to(path)
    assert find_file_fault(str(path)).startswith('cannot be read (Too many levels')

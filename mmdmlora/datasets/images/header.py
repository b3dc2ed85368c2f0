"""Looking at an image file without decoding it."""

from __future__ import annotations

import os
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

NOT_AN_IMAGE = 'is not an image'
JPEG_START = b'\xff\xd8'
END_MARKERS = {'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9', 'PNG': b'IEND\xaeB`\x82'}
# The end is looked for in the last bytes and, as a camera may write a film behind it, in
# the whole file only where it isn't there.
TAIL = 4096


def find_fault(stream: BinaryIO) -> str | None:
    """Say what is wrong with an encoded image.

    Its header is read and, in JPEG and PNG files, the marker of its end is looked for
    behind the header: an interrupted copy lacks it, and so does one that was filled up
    with zeros. The markers can't be in the image data itself, but may be in a thumbnail
    that the header holds.

    Args:
        stream: The encoded image, a file or bytes in memory.

    Returns:
        'is empty', 'is not an image' or 'is cut off'; None if nothing is wrong.

    Raises:
        OSError: If the operating system can't read the file.
    """
    size = stream.seek(0, os.SEEK_END)
    if size == 0:
        return 'is empty'
    stream.seek(0)
    try:
        with Image.open(stream) as image:
            marker = END_MARKERS.get(image.format, b'')
        header_end = stream.tell()
    except (UnidentifiedImageError, Image.DecompressionBombError, ValueError):
        return NOT_AN_IMAGE
    except OSError as error:
        if error.errno:
            raise
        # Pillow's own complaint, that the header ends too soon, has no number.
        return 'is cut off'
    for start in (max(header_end, size - TAIL), header_end):
        stream.seek(start)
        if marker in stream.read():
            return None
    return 'is cut off'

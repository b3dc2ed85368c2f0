"""Looking at an image file without decoding it."""

from __future__ import annotations

import os

from PIL import Image, UnidentifiedImageError

# What follows the end of an image, such as a camera's data, is tolerated up to here. The
# markers can't be in the image data itself.
TAIL = 4096
END_MARKERS = {'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9', 'PNG': b'IEND\xaeB`\x82'}


def find_fault(path: str) -> str | None:
    """Say what is wrong with an image file.

    Its header is read and, in JPEG and PNG files, the marker of its end is looked for:
    an interrupted copy lacks it, and so does one that was filled up with zeros.

    Args:
        path: The file.

    Returns:
        'is missing', 'is empty', 'is not an image', 'is cut off' or the operating
        system's complaint; None if nothing is wrong.
    """
    try:
        with open(path, 'rb') as stream:
            size = os.fstat(stream.fileno()).st_size
            if size == 0:
                return 'is empty'
            with Image.open(stream) as image:
                marker = END_MARKERS.get(image.format, b'')
                stream.seek(max(0, size - TAIL))
                return None if marker in stream.read() else 'is cut off'
    except FileNotFoundError:
        return 'is missing'
    except (UnidentifiedImageError, Image.DecompressionBombError, ValueError):
        return 'is not an image'
    except OSError as error:
        # Pillow's own complaint, that the header ends too soon, has no number.
        return f'cannot be read ({error.strerror})' if error.errno else 'is cut off'

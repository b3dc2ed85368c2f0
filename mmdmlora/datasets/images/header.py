"""Seeing whether an encoded image is complete, without decoding it."""

from __future__ import annotations

JPEG_START = b'\xff\xd8\xff'
JPEG_END = b'\xff\xd9'
PNG_START = b'\x89PNG\r\n\x1a\n'
PNG_END = b'IEND\xaeB`\x82'
# Segments of a JPEG file that have no length: TEM and RST0 to RST7.
BARE_MARKERS = {0x01, *range(0xD0, 0xD8)}
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9


def find_cut(content: bytes) -> str | None:
    """Say whether an image is empty or, if it is a JPEG or PNG file, cut off.

    The marker of its end is looked for behind the header: an interrupted copy lacks it,
    and so does one that was filled up with zeros. The markers can't be in the image data
    itself, but may be in a thumbnail that the header of a JPEG file holds. What stands
    behind the marker, such as a camera's film, is no fault.

    Args:
        content: The encoded image.

    Returns:
        'is empty' or 'is cut off'; None if nothing is wrong, or the format is another.
    """
    if not content:
        return 'is empty'
    if content.startswith(PNG_START):
        is_whole = PNG_END in content[len(PNG_START) :]
    elif content.startswith(JPEG_START):
        is_whole = content.rfind(JPEG_END, _end_of_jpeg_header(content)) >= 0
    else:
        is_whole = True
    return None if is_whole else 'is cut off'


def _end_of_jpeg_header(content: bytes) -> int:
    """The place of the first scan, or the length of a file that has none."""
    place = 2
    while (place := content.find(b'\xff', place)) >= 0:
        marker = content[place + 1] if place + 1 < len(content) else 0xFF
        if marker in (START_OF_SCAN, END_OF_IMAGE):
            return place
        if marker in (0x00, 0xFF):  # no marker, but a byte or a filling
            place += 1
        elif marker in BARE_MARKERS:
            place += 2
        else:
            length = int.from_bytes(content[place + 2 : place + 4], 'big')
            place += 2 + max(length, 2)
    return len(content)

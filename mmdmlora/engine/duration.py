"""Times in a config."""

import re

UNITS = dict(s=1, min=60, h=3600)


def seconds_of(text: str) -> float:
    """The seconds of a time such as ``'60s'``, ``'5min'`` or ``'1.5h'``.

    Raises:
        ValueError: If it is none, or not above zero.
    """
    found = re.fullmatch(r'(\d+(?:\.\d+)?)\s*(s|min|h)', text.strip())
    seconds = float(found[1]) * UNITS[found[2]] if found else 0
    if not seconds:
        raise ValueError(
            f'interval={text!r} is no time above zero: write seconds, minutes or hours, '
            "such as '60s', '5min' or '1h', or a number of epochs or iterations."
        )
    return seconds

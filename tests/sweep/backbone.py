"""One backbone of the sweep."""

from __future__ import annotations

from typing import NamedTuple


class SweepBackbone(NamedTuple):
    """A backbone at tiny size.

    Attributes:
        config: Its config.
        size: Height and width of its images.
        targets: Where it is adapted; empty: by default.
        channels: Channels of its images.
    """

    config: dict
    size: int = 64
    targets: tuple[dict, ...] = ()
    channels: int = 3

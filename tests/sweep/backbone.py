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
        is_discontinuous: Whether rounding can change what it computes, such as its
            choice of neighbours: it is tried in double precision.
    """

    config: dict
    size: int = 64
    targets: tuple[dict, ...] = ()
    channels: int = 3
    is_discontinuous: bool = False

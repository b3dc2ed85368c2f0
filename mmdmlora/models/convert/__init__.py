"""Pre-trained backbones of other libraries in mmpretrain's names."""

from .backbone import Architecture, convert_backbone, convert_state
from .candidates import (
    below,
    describe,
    narrowed,
    preferred_prefix,
    prefixes_of,
    read_preferred,
)
from .placement import Placement, Rows

__all__ = [
    'Architecture',
    'Placement',
    'Rows',
    'below',
    'convert_backbone',
    'convert_state',
    'describe',
    'narrowed',
    'preferred_prefix',
    'prefixes_of',
    'read_preferred',
]

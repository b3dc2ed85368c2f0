"""Pre-trained backbones of other libraries in mmpretrain's names."""

from .backbone import PREFIXES, Architecture, convert_backbone, unwrap

__all__ = ['PREFIXES', 'Architecture', 'convert_backbone', 'unwrap']

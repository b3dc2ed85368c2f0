"""The benchmarks that are read from disk: VTAB-1k, FGVC and few-shot FGVC."""

from .fewshot import FewShotFGVC
from .fgvc import FGVC
from .vtab import VTAB1k

__all__ = ['FGVC', 'FewShotFGVC', 'VTAB1k']

"""Keeping decoded images in memory, once for all workers and processes of a machine."""

from .cached_dataset import CachedDataset
from .settings import BUDGET_GIB, check_cache

__all__ = ['BUDGET_GIB', 'CachedDataset', 'check_cache']

"""Keeping decoded images in memory, once for all workers and processes of a machine."""

from .cached_dataset import CachedDataset
from .settings import CACHES, check_cache

__all__ = ['CACHES', 'CachedDataset', 'check_cache']

"""Checking the benchmarks' data on disk."""

from .check import SplitReport, check_task
from .report import as_json, as_text
from .search import FoundTask, find_tasks

__all__ = [
    'FoundTask',
    'SplitReport',
    'as_json',
    'as_text',
    'check_task',
    'find_tasks',
]

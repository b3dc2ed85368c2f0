"""Loading images, and finding those that are damaged."""

from .faults import find_faults, find_file_fault
from .loading import LoadImageFromFile

__all__ = ['LoadImageFromFile', 'find_faults', 'find_file_fault']

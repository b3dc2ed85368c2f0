"""Loading images, and finding those that are damaged."""

from .faults import find_faults, find_file_fault, leave_out_corrupt
from .loading import LoadImageFromFile

__all__ = ['LoadImageFromFile', 'find_faults', 'find_file_fault', 'leave_out_corrupt']

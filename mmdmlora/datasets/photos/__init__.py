"""Photos of one's own: a folder a class, checked and split before a training."""

from .check import PhotoReport, check_photos, is_photo_tree, may_be_photos
from .report import photos_as_text
from .splits import SHARE, split_photos, write_lists
from .tree import IMAGE_ENDINGS, PhotoTree, find_images, read_tree

__all__ = [
    'IMAGE_ENDINGS',
    'PhotoReport',
    'PhotoTree',
    'SHARE',
    'check_photos',
    'find_images',
    'is_photo_tree',
    'may_be_photos',
    'photos_as_text',
    'read_tree',
    'split_photos',
    'write_lists',
]

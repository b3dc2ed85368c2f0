"""Any folder of images, or list of them, as mmpretrain reads it."""

from __future__ import annotations

from mmpretrain.datasets import CustomDataset as StockCustomDataset

from ..registry import DATASETS
from .image_cache import CachedDataset
from .images import leave_out_corrupt


@DATASETS.register_module()
class CustomDataset(CachedDataset, StockCustomDataset):
    """:class:`mmpretrain.datasets.CustomDataset` with ``skip_corrupt`` and a cache.

    In scope ``mmdmlora`` it takes the place of mmpretrain's, with the same arguments and
    result; elsewhere its name is ``mmdmlora.CustomDataset``. Read from a folder of
    classes, or from an ``ann_file`` of ``<path> <label>`` lines::

        data_root/data_prefix
        ├── cat
        │   ├── 001.jpg
        │   └── ...
        └── dog

    Args:
        *args: Arguments of mmpretrain's.
        skip_corrupt (bool): Whether images that are missing, empty, cut off or can't be
            decoded are left out, with a warning that names them. By default such an
            image ends the run when its turn comes. Defaults to False.
        **kwargs: Arguments of mmpretrain's, and ``cache`` and ``cache_gib`` of
            :class:`~mmdmlora.datasets.image_cache.CachedDataset`.

    Attributes:
        skipped (dict[str, str]): With ``skip_corrupt``, the paths of the images that
            were left out and what is wrong with each. Their number is ``num_skipped``
            in ``metainfo``, and so in checkpoints.

    Note:
        ``skip_corrupt`` decodes every image once when the list is read, in each process,
        so that every process, epoch and resumed run has the same list.
    """

    def __init__(self, *args, skip_corrupt: bool = False, **kwargs) -> None:
        self.skip_corrupt = skip_corrupt
        self.skipped: dict[str, str] = {}
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Find the images, and leave out corrupt ones."""
        samples = super().load_data_list()
        if self.skip_corrupt:
            num_found = len(samples)
            source = self.ann_file or self.img_prefix
            samples, self.skipped = leave_out_corrupt(samples, self.pipeline, source)
            self._metainfo['num_skipped'] = num_found - len(samples)
        return samples

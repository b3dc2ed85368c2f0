"""Few-shot FGVC: five sets with 1 to 16 training images a class."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mmengine.logging import print_log

from ...registry import DATASETS
from ..tasks import fewshot_task
from .fewshot_lists import draw_shots, read_coop, read_noah
from .image_list import check_entries
from .task_dataset import TaskDataset

SHOTS = (1, 2, 4, 8, 16)
NOAH_SEEDS = (0, 1, 2)

# Where the images are, in the set's folder, and the name of CoOp's file.
IMAGE_FOLDERS = {'cars': ('',), 'flowers': ('jpg', 'images')}
COOP_FILES = {
    'food101': 'split_zhou_Food101.json',
    'aircraft': 'images_variant_{split}.txt',
    'flowers': 'split_zhou_OxfordFlowers.json',
    'pets': 'split_zhou_OxfordPets.json',
    'cars': 'split_zhou_StanfordCars.json',
}


@DATASETS.register_module()
class FewShotFGVC(TaskDataset):
    """A set of few-shot FGVC, drawn as in `CoOp <https://arxiv.org/abs/2109.01134>`_.

    Read with the lists of `NOAH <https://arxiv.org/abs/2206.04673>`_ or CoOp's files::

        few-shot                                      <- data_root
        ├── food-101
        │   ├── annotations
        │   │   ├── train_meta.list.num_shot_1.seed_0 (NOAH)
        │   │   ├── ...
        │   │   ├── val_meta.list
        │   │   └── test_meta.list
        │   ├── split_zhou_Food101.json               (CoOp)
        │   └── images/apple_pie/1005649.jpg
        ├── fgvc_aircraft
        │   ├── annotations                           (NOAH)
        │   ├── variants.txt                          (CoOp)
        │   ├── images_variant_{train,val,test}.txt   (CoOp)
        │   └── images/0034309.jpg
        ├── oxford_flowers                            images in jpg or images
        ├── oxford_pets                               images in images
        └── stanford_cars                             images in cars_train, cars_test

    A line of NOAH's lists is an image's path and its 0-based label, ``3277765.jpg 0``.
    CoOp's JSON files hold ``[path, label, class name]`` for all images of the three
    splits; Aircraft's lists hold ``<image> <variant>``, a label is a line of
    ``variants.txt``.

    NOAH's lists exist for the seeds 0, 1 and 2. They are read for these seeds where
    ``annotations`` has them, for all splits; what was read is logged. Otherwise the
    shots are drawn from CoOp's training split as CoOp does after seeding with ``seed``
    (its seeds are 1, 2 and 3), image for image. NOAH's 1-shot lists of Pets name each
    image twice: they are read once. CoOp's ``split_fewshot/*.pkl`` are never read.

    ``val`` and ``test`` are always whole (CoOp's code validates on at most 4 images a
    class). Classes and images in val and test: food101 101, 20200, 30300; aircraft 100,
    3333, 3333; flowers 102, 1633, 2463; pets 37, 736, 3669; cars 196, 1635, 8041.

    Args:
        data_root (str): The local folder that holds the sets' folders. These may have
            the aliases of :data:`FEWSHOT_TASKS`; lists and images may be in two of them.
        name (str): 'food101', 'aircraft', 'flowers', 'pets' or 'cars', or a folder's
            name.
        num_shots (int): Training images a class: 1, 2, 4, 8 or 16.
        seed (int): The seed of the draw.
        split (str): 'train', 'val' or 'test'.
        pipeline (Sequence): The processing pipeline. Defaults to ().
        skip_corrupt (bool): Whether images that can't be decoded are left out, with a
            warning; a class may then have fewer shots, or none. Defaults to False.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`, and
            ``cache`` and ``cache_gib`` of
            :class:`~mmdmlora.datasets.image_cache.CachedDataset`. The
            classes' names are '0', '1', ... unless ``classes`` gives others.

    Raises:
        ValueError: If the name, split, shots or seed is unknown, or files are missing or
            broken. A split whose length differs from the table's is read with a warning.

    License:
        The images are for research; see each set's page.
    """

    remedy = (
        "Fetch the data set from its authors, and NOAH's annotations or CoOp's "
        'split_zhou_*.json from their repositories.'
    )

    def __init__(
        self,
        data_root: str,
        name: str,
        num_shots: int,
        seed: int,
        split: str,
        pipeline: Sequence = (),
        **kwargs,
    ):
        if num_shots not in SHOTS:
            raise ValueError(
                f'num_shots={num_shots!r} is not one of {", ".join(map(str, SHOTS))}.'
            )
        if type(seed) is not int or seed < 0:
            raise ValueError(
                f"seed={seed!r} is not an integer from 0. NOAH's seeds are 0, 1 and 2, "
                "CoOp's are 1, 2 and 3."
            )
        if 'subset' in kwargs:
            raise ValueError(
                f'subset={kwargs["subset"]!r}: a few-shot set has no fractions; choose '
                'num_shots.'
            )
        self.num_shots = num_shots
        self.seed = seed
        super().__init__(fewshot_task(name), data_root, split, pipeline, **kwargs)

    def read_split(self) -> list[dict]:
        """Read the split from NOAH's list or from CoOp's file."""
        coop_file = COOP_FILES[self.task.name].format(split=self.split)
        noah = self._find('annotations/test_meta.list')
        coop = self._find(coop_file)
        if noah and self.seed in NOAH_SEEDS:
            source = os.path.join(os.path.dirname(noah), self._noah_list())
            entries = read_noah(source)
        elif coop:
            source = coop
            entries = read_coop(coop, self.split)
            if self.split == 'train':
                entries = draw_shots(entries, self.num_shots, self.seed)
        else:
            raise ValueError(
                f'{self.task.folder}: {self.folders[0]!r} has neither annotations/'
                f'{self._noah_list()} of NOAH (seeds 0, 1 and 2) nor {coop_file} of '
                f'CoOp. {self.remedy}'
            )
        if not entries:
            raise ValueError(
                f'{source} lists no image of {self.split}. Fetch the file again.'
            )
        print_log(f'{self.task.folder}, {self.split}: read {source}', logger='current')
        folders = IMAGE_FOLDERS.get(self.task.name, ('images',))
        images = next(filter(None, map(self._find, folders)), self.img_prefix)
        return check_entries(entries, images, self.task.num_classes)

    @property
    def num_expected(self) -> int:
        """The number of images that the split has in the paper."""
        shots = self.num_shots if self.split == 'train' else 1
        return shots * super().num_expected

    def extra_repr(self) -> list[str]:
        """The lines of ``repr`` that this data set adds."""
        return [*super().extra_repr(), f'Shots: \t{self.num_shots} (seed {self.seed})']

    def _noah_list(self) -> str:
        if self.split == 'train':
            return f'train_meta.list.num_shot_{self.num_shots}.seed_{self.seed}'
        return f'{self.split}_meta.list'

    def _find(self, path: str) -> str | None:
        """The first of the set's folders that has ``path``, with it behind."""
        paths = (os.path.join(folder, path) for folder in self.folders)
        return next(filter(os.path.exists, paths), None)

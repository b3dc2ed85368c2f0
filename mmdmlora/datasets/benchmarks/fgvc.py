"""FGVC: five sets of birds, flowers, dogs and cars, each with its whole training set."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...registry import DATASETS
from ..tasks import fgvc_task
from .fgvc_author_files import read_author_files
from .fgvc_vpt_lists import read_vpt_list
from .image_list import check_entries
from .task_dataset import TaskDataset

# The folder that the paths of VPT's lists start from.
JSON_FOLDERS = {'cub': 'images', 'nabirds': 'images', 'dogs': 'Images'}


@DATASETS.register_module()
class FGVC(TaskDataset):
    """A data set of FGVC, in the selection of `VPT <https://arxiv.org/abs/2203.12119>`_.

    Read with VPT's lists, which its repository links to, or with the authors' files::

        fgvc                                   <- data_root
        ├── CUB_200_2011
        │   ├── train.json, val.json, test.json
        │   │                                  or images.txt, image_class_labels.txt,
        │   │                                  train_test_split.txt
        │   └── images
        │       └── 001.Black_footed_Albatross/...jpg
        ├── nabirds                            like CUB_200_2011
        ├── OxfordFlowers
        │   ├── train.json, ...                or setid.mat, imagelabels.mat
        │   └── jpg/image_00001.jpg
        ├── StanfordDogs
        │   ├── train.json, ...                or train_list.mat, test_list.mat
        │   └── Images/n02085620-Chihuahua/...jpg
        └── StanfordCars
            ├── train.json, ...                or one of the two lines below
            ├── car_ims/000001.jpg             with cars_annos.mat
            └── cars_train, cars_test          with devkit/cars_train_annos.mat and
                                               cars_test_annos_withlabels.mat

    The last file may be in ``devkit`` or beside it, and the image folders may be doubled
    (``cars_train/cars_train``).

    VPT's lists map an image's path to the id of its class::

        {"132.White_crowned_Sparrow/White_Crowned_Sparrow_0123.jpg": "132", ...}

    Ids have gaps. A label is the rank of an id among those of the *training* list, for
    every split: NABirds' validation list lacks two ids, and ranks of its own would give
    most of its images another class.

    The authors of Flowers give a validation split. For the other sets without VPT's
    lists, a fixed share of the authors' training images is ``val``.

    Images in train, val and test, and classes: cub 5394, 600, 5794, 200; nabirds 21536,
    2393, 24633, 555; flowers 1020, 1020, 6149, 102; dogs 10800, 1200, 8580, 120; cars
    7329, 815, 8041, 196. ``trainval`` is ``train`` followed by ``val``.

    Args:
        data_root (str): The local folder that holds the sets' folders. These may have
            the aliases of :data:`FGVC_TASKS`, such as ``Stanford-dogs``.
        name (str): 'cub', 'nabirds', 'flowers', 'dogs' or 'cars', or a folder's name.
        split (str): 'train', 'val', 'trainval' or 'test'.
        pipeline (Sequence): The processing pipeline. Defaults to ().
        subset (float): The share of a training split to use, see
            :func:`~mmdmlora.datasets.take_subset`. Defaults to 1.0.
        subset_seed (int): The seed of the subset. Defaults to 0.
        skip_corrupt (bool): Whether images that can't be decoded are left out, with a
            warning. Defaults to False.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`, and
            ``cache`` and ``cache_gib`` of
            :class:`~mmdmlora.datasets.image_cache.CachedDataset`. The
            classes' names are '0', '1', ... unless ``classes`` gives others.

    Raises:
        ValueError: If the name, split or subset is unknown, or files are missing or
            broken. A split whose length differs from the table's is read with a warning.

    License:
        The images are for non-commercial research and education; see each set's page.
    """

    remedy = (
        "Fetch the data set from its authors, and VPT's train.json, val.json and "
        "test.json from VPT's repository."
    )

    def __init__(
        self,
        data_root: str,
        name: str,
        split: str,
        pipeline: Sequence = (),
        **kwargs,
    ):
        super().__init__(fgvc_task(name), data_root, split, pipeline, **kwargs)

    def read_split(self) -> list[dict]:
        """Read the split's images with ids, and map these by the training images."""
        wanted = ('train', 'val') if self.split == 'trainval' else (self.split,)
        folder = self.img_prefix
        files = {s: os.path.join(folder, f'{s}.json') for s in ('train', 'val', 'test')}
        if any(map(os.path.isfile, files.values())):
            splits = {s: read_vpt_list(files[s]) for s in {'train', *wanted}}
            folder = os.path.join(folder, JSON_FOLDERS.get(self.task.name, ''))
        else:
            splits = read_author_files(self.task, folder)
        ids = sorted({entry.label for entry in splits['train']})
        if len(ids) != self.task.num_classes:
            raise ValueError(
                f'{splits["train"][0].where if ids else folder}: the training images '
                f'have {len(ids)} different classes, but {self.task.folder} has '
                f'{self.task.num_classes}. Fetch the annotations again.'
            )
        labels = {id_: label for label, id_ in enumerate(ids)}
        entries = []
        for entry in (entry for s in wanted for entry in splits[s]):
            if entry.label not in labels:
                raise ValueError(
                    f'{entry.where}: no training image has the class id {entry.label}. '
                    'Fetch the annotations of all splits again, from one source.'
                )
            entries.append(entry._replace(label=labels[entry.label]))
        return check_entries(entries, folder, self.task.num_classes)

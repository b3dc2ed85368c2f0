"""Tasks whose images are drawn when they are needed: nothing to download."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mmdmlora.io import expand_home

from ...registry import DATASETS
from ..image_cache import CachedDataset
from ..subset import check_part, check_seed, name_part, take_part
from .cache import read_cache, write_cache
from .count_scenes import FEWEST, MOST, count_scene
from .distance_scenes import DISTANCE_EDGES, dist_scene
from .dsprites import draw_sprites
from .scenes import draw_scenes

BINS = tuple(str(label) for label in range(16))
# task: (what draws numbered images, the names of the classes)
GENERATED_TASKS = {
    'dsprites-loc': (partial(draw_sprites, factor='x'), BINS),
    'dsprites-ori': (partial(draw_sprites, factor='orientation'), BINS),
    'count': (
        partial(draw_scenes, count_scene),
        tuple(str(count) for count in range(FEWEST, MOST + 1)),
    ),
    'dist': (
        partial(draw_scenes, dist_scene),
        tuple(
            f'{low} to {high}'
            for low, high in zip(DISTANCE_EDGES, DISTANCE_EDGES[1:], strict=False)
        ),
    ),
}
# A part is a range of the numbers of a task's images; a split is made of parts.
PARTS = {
    'train800': range(800),
    'val200': range(800, 1000),
    'test': range(1000, 3000),
}
GENERATED_SPLITS = {
    'train800': ('train800',),
    'val200': ('val200',),
    'train800val200': ('train800', 'val200'),
    'test': ('test',),
}
# Part of a cached file's name: to be raised when the drawing changes.
DRAWING = 1


@DATASETS.register_module()
class GeneratedTask(CachedDataset):
    """Small drawn tasks in the spirit of VTAB's Structured group.

    ============ ======= ==========================================================
    task         classes what is asked
    ============ ======= ==========================================================
    dsprites-loc 16      the column of a white sprite, see :mod:`.dsprites`
    dsprites-ori 16      its orientation
    count        8       how many shapes there are, 3 to 10, see :mod:`.count_scenes`
    dist         6       how far the nearest object is, see :mod:`.distance_scenes`
    ============ ======= ==========================================================

    Each task is a row of 3,000 numbered images of 64 x 64 pixels. ``train800`` is the
    first 800, ``val200`` the next 200, ``train800val200`` those 1,000 and ``test`` the
    last 2,000. An image depends on the task, the seed and its number alone. No two
    sprites have the same factors; each scene has random numbers of its own.

    The classes of ``count`` and ``dist`` are equally frequent. Those of the sprites are
    drawn: of the 40 orientations, 2 or 3 fall into a class.

    A sample holds the image itself, ``img``, of shape (64, 64, 3), type uint8 and BGR
    order, as ``LoadImageFromFile`` would give it, so a pipeline starts without that.

    Args:
        task (str): 'dsprites-loc', 'dsprites-ori', 'count' or 'dist'.
        split (str): 'train800', 'val200', 'train800val200' or 'test'.
        seed (int): The seed of the images, and of ``subset`` and ``num_shots``. Defaults
            to 0.
        cache_dir (str, optional): A folder to keep drawn images in, as .npz files. A
            file that can't be read is drawn again. By default nothing is kept: drawing
            takes seconds.
        pipeline (Sequence): The processing pipeline. Defaults to ().
        subset (float): The share of a training split to use, drawn with ``seed``, see
            :func:`~mmdmlora.datasets.take_subset`. Defaults to 1.0.
        num_shots (int, optional): Images of each class of a training split to use
            instead, drawn with ``seed``, see
            :func:`~mmdmlora.datasets.subset.take_shots`. Defaults to None.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`, and
            ``cache`` and ``cache_gib`` of
            :class:`~mmdmlora.datasets.image_cache.CachedDataset`.

    Raises:
        ValueError: If the task, split or seed is unknown, or if ``subset`` or
            ``num_shots`` is out of range, of another split than one for training, or both
            are given.

    Note:
        These are not VTAB's images, and accuracies on them can't be compared with
        VTAB's. The first and the last of dSprites' orientations, 0 and 2 pi, are the
        same picture with the labels 0 and 15, and ellipses and squares look nearly the
        same after a half and a quarter of a turn: no model can be right on every image
        of ``dsprites-ori``, as in the original.
    """

    def __init__(
        self,
        task: str,
        split: str,
        seed: int = 0,
        cache_dir: str | None = None,
        pipeline: Sequence = (),
        subset: float = 1.0,
        num_shots: int | None = None,
        **kwargs,
    ):
        for what, value, known in (
            ('task', task, GENERATED_TASKS),
            ('split', split, GENERATED_SPLITS),
        ):
            if value not in known:
                raise ValueError(
                    f'GeneratedTask has no {what} {value!r}. Known {what}s: '
                    f'{", ".join(known)}.'
                )
        check_seed(seed, 'the seed')
        check_part(subset, num_shots, split)
        self.task = task
        self.split = split
        self.seed = seed
        self.subset = subset
        self.num_shots = num_shots
        self.cache_dir = expand_home(Path(cache_dir)) if cache_dir else None
        super().__init__(ann_file='', pipeline=pipeline, **kwargs)
        # Merged here, because BaseDataset takes a string in `metainfo` for a file name.
        self._metainfo = {
            'benchmark': 'generated',
            'task': task,
            'classes': GENERATED_TASKS[task][1],
            **self._metainfo,
        }

    def load_data_list(self) -> list[dict]:
        """Draw the split's images or read them from the cache, and take the part."""
        samples = [
            {
                'img': np.ascontiguousarray(image[..., ::-1]),
                'img_shape': image.shape[:2],
                'ori_shape': image.shape[:2],
                'gt_label': int(label),
            }
            for part in GENERATED_SPLITS[self.split]
            for image, label in zip(*self._load_part(part), strict=True)
        ]
        return take_part(samples, self.subset, self.num_shots, self.seed)

    def extra_repr(self) -> list[str]:
        """The lines of ``repr`` that this data set adds."""
        return [
            f'Task: \t{self.task}',
            f'Split: \t{self.split} (seed {self.seed})',
            name_part(self.subset, self.num_shots),
        ]

    def _load_part(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        numbers = PARTS[part]
        draw, classes = GENERATED_TASKS[self.task]
        if self.cache_dir is None:
            return draw(numbers, self.seed)
        file = self.cache_dir / f'{self.task}_{part}_seed{self.seed}_v{DRAWING}.npz'
        drawn = read_cache(file, len(numbers), len(classes))
        if drawn is None:
            drawn = draw(numbers, self.seed)
            write_cache(file, *drawn)
        return drawn

"""The tasks as data: names, folders, classes and image counts of every benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches


@dataclass(frozen=True)
class Task:
    """One data set of a benchmark.

    Attributes:
        benchmark: The benchmark that the task belongs to, e.g. 'VTAB-1k'.
        name: The short name, used in the names of config files, e.g. 'clevr-count'.
        folder: The canonical name of the task's folder, e.g. 'clevr_count'.
        aliases: Other names of that folder that are in use.
        group: The task's group in the benchmark, e.g. 'Structured'; the benchmark's name
            where it has no groups.
        num_classes: The number of classes; labels run from 0 to ``num_classes - 1``.
        num_images: The number of images of each split, by the split's name. The
            training images of a few-shot task are those of one shot.
    """

    benchmark: str
    name: str
    folder: str
    aliases: tuple[str, ...]
    group: str
    num_classes: int
    num_images: dict[str, int] = field(hash=False)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folder names under which the task is found, the canonical one first."""
        return (self.folder, *self.aliases)

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return tuple(self.num_images)


def find_task(tasks: Sequence[Task], name: str) -> Task:
    """Look up a task of one benchmark by any of its names.

    Args:
        tasks: The benchmark's tasks.
        name: The task's folder, an alias of it or its short name. Case, ``-`` and ``_``
            make no difference.

    Raises:
        ValueError: If no task has that name.
    """
    by_name = {
        _normalise(word): task for task in tasks for word in (task.name, *task.folders)
    }
    key = _normalise(str(name))
    if key in by_name:
        return by_name[key]
    nearest = get_close_matches(key, by_name, n=1, cutoff=0.5)
    hint = f' Did you mean {by_name[nearest[0]].folder!r}?' if nearest else ''
    raise ValueError(
        f'{tasks[0].benchmark} has no task {name!r}.{hint} '
        f'Known tasks: {", ".join(task.folder for task in tasks)}.'
    )


def vtab_task(name: str) -> Task:
    """Look up a VTAB-1k task, see :func:`find_task`."""
    return find_task(VTAB_TASKS, name)


def fgvc_task(name: str) -> Task:
    """Look up an FGVC task, see :func:`find_task`."""
    return find_task(FGVC_TASKS, name)


def fewshot_task(name: str) -> Task:
    """Look up a few-shot task, see :func:`find_task`."""
    return find_task(FEWSHOT_TASKS, name)


def _normalise(name: str) -> str:
    return name.lower().replace('-', '').replace('_', '')


def _task(
    benchmark: str,
    name: str,
    num_classes: int,
    num_images: dict[str, int],
    folders: Sequence[str],
    group: str | None = None,
) -> Task:
    """A task from a row of a table below: ``folders`` are its folder and the aliases."""
    folder, *aliases = folders
    group = group or benchmark
    return Task(benchmark, name, folder, tuple(aliases), group, num_classes, num_images)


# (name, number of classes, number of test images, names of the folder...)
_VTAB = {
    'Natural': (
        ('cifar100', 100, 10_000, 'cifar', 'cifar100'),
        ('caltech101', 102, 6_084, 'caltech101'),
        ('dtd', 47, 1_880, 'dtd'),
        ('flowers102', 102, 6_149, 'oxford_flowers102', 'flowers102'),
        ('pets', 37, 3_669, 'oxford_iiit_pet', 'oxford_pet', 'pets', 'pet'),
        ('svhn', 10, 26_032, 'svhn'),
        ('sun397', 397, 21_750, 'sun397'),
    ),
    'Specialized': (
        ('camelyon', 2, 32_768, 'patch_camelyon', 'camelyon'),
        ('eurosat', 10, 5_400, 'eurosat'),
        ('resisc45', 45, 6_300, 'resisc45'),
        ('retinopathy', 5, 42_670, 'diabetic_retinopathy', 'retinopathy'),
    ),
    'Structured': (
        ('clevr-count', 8, 15_000, 'clevr_count'),
        ('clevr-dist', 6, 15_000, 'clevr_dist', 'clevr_distance'),
        ('dmlab', 6, 22_735, 'dmlab'),
        ('kitti', 4, 711, 'kitti'),
        ('dsprites-loc', 16, 73_728, 'dsprites_loc', 'dsprites_position'),
        ('dsprites-ori', 16, 73_728, 'dsprites_ori', 'dsprites_orientation'),
        ('smallnorb-azi', 18, 12_150, 'smallnorb_azi', 'smallnorb_azimuth'),
        ('smallnorb-ele', 9, 12_150, 'smallnorb_ele', 'smallnorb_elevation'),
    ),
}

VTAB_TASKS: tuple[Task, ...] = tuple(
    _task(
        'VTAB-1k',
        name,
        num_classes,
        {'train800': 800, 'val200': 200, 'train800val200': 1000, 'test': num_test},
        folders,
        group,
    )
    for group, rows in _VTAB.items()
    for name, num_classes, num_test, *folders in rows
)

# (name, number of classes, images in train, val and test, names of the folder...)
_FGVC = (
    ('cub', 200, 5_394, 600, 5_794, 'CUB_200_2011', 'CUB-200-2011', 'cub'),
    ('nabirds', 555, 21_536, 2_393, 24_633, 'nabirds', 'NABirds'),
    ('flowers', 102, 1_020, 1_020, 6_149, 'OxfordFlowers', 'OxfordFlower'),
    ('dogs', 120, 10_800, 1_200, 8_580, 'StanfordDogs', 'Stanford-dogs'),
    ('cars', 196, 7_329, 815, 8_041, 'StanfordCars', 'Stanford-cars'),
)

FGVC_TASKS: tuple[Task, ...] = tuple(
    _task(
        'FGVC',
        name,
        num_classes,
        {'train': train, 'val': val, 'trainval': train + val, 'test': test},
        folders,
    )
    for name, num_classes, train, val, test, *folders in _FGVC
)

_FLOWERS_ALIASES = ('oxford_flowers102', 'oxford-flowers102')

# (name, number of classes, images in val and test, names of the folder...)
_FEWSHOT = (
    ('food101', 101, 20_200, 30_300, 'food-101', 'food101'),
    ('aircraft', 100, 3_333, 3_333, 'fgvc_aircraft', 'fgvc-aircraft'),
    ('flowers', 102, 1_633, 2_463, 'oxford_flowers', *_FLOWERS_ALIASES),
    ('pets', 37, 736, 3_669, 'oxford_pets', 'oxford-pets'),
    ('cars', 196, 1_635, 8_041, 'stanford_cars', 'standford-cars'),
)

FEWSHOT_TASKS: tuple[Task, ...] = tuple(
    _task(
        'few-shot',
        name,
        num_classes,
        {'train': num_classes, 'val': val, 'test': test},
        folders,
    )
    for name, num_classes, val, test, *folders in _FEWSHOT
)

BENCHMARKS: dict[str, tuple[Task, ...]] = {
    'VTAB-1k': VTAB_TASKS,
    'FGVC': FGVC_TASKS,
    'few-shot': FEWSHOT_TASKS,
}

"""Where benchmarks lie on disk and how their splits are opened, for checking them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mmpretrain.datasets import BaseDataset

from ..benchmarks.fewshot import COOP_FILES, NOAH_SEEDS, SHOTS, FewShotFGVC
from ..benchmarks.fgvc import FGVC
from ..benchmarks.vtab import VTAB1k
from ..tasks import BENCHMARKS, Task


@dataclass(frozen=True)
class Split:
    """A split as the check opens it.

    Attributes:
        name: What the report calls it.
        expected: How many images it has.
        options: The data set's arguments that choose it, ``split`` among them.
    """

    name: str
    expected: int
    options: dict[str, object]


@dataclass(frozen=True)
class Layout:
    """How a benchmark is found and opened.

    Attributes:
        benchmark: The benchmark's name.
        parents: Where the tasks' folders may be, from the folder that is checked.
        marks: Paths inside a task's folder, any of which tells that it is one, because
            other data sets use the same folder names; '' where none does. ``{split}``
            stands for any split.
        dataset: The class that reads it.
        splits: The splits of a task, in the order of the report.
        source: Where to get it.
    """

    benchmark: str
    parents: tuple[str, ...]
    marks: tuple[str, ...]
    dataset: type[BaseDataset]
    splits: Callable[[Task], list[Split]]
    source: str

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The benchmark's tasks."""
        return BENCHMARKS[self.benchmark]

    def open(self, parent: str, task: Task, split: Split) -> BaseDataset:
        """Build a split's data set, whose ``data_list`` is left as it was read."""
        return self.dataset(parent, task.folder, serialize_data=False, **split.options)


def _named_splits(*names: str) -> Callable[[Task], list[Split]]:
    """Splits that the table of tasks has under the same name."""
    return lambda task: [
        Split(name, task.num_images[name], {'split': name}) for name in names
    ]


def _fewshot_splits(task: Task) -> list[Split]:
    """Every draw of training images that NOAH has lists of, and val and test."""
    draws = [
        Split(
            f'{shots}-shot, seed {seed}',
            shots * task.num_images['train'],
            {'split': 'train', 'num_shots': shots, 'seed': seed},
        )
        for shots in SHOTS
        for seed in NOAH_SEEDS
    ]
    whole = [
        Split(name, task.num_images[name], {'split': name, 'num_shots': 1, 'seed': 0})
        for name in ('val', 'test')
    ]
    return [*draws, *whole]


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        benchmark='VTAB-1k',
        parents=('', 'vtab-1k', 'vtab', 'data', 'data/vtab-1k', 'data/vtab'),
        marks=('{split}.txt', 'images/{split}'),
        dataset=VTAB1k,
        splits=_named_splits('train800', 'val200', 'train800val200', 'test'),
        source="the VTAB-1k archive that NOAH's and RepAdapter's repositories link to",
    ),
    Layout(
        benchmark='FGVC',
        parents=('', 'fgvc', 'data', 'data/fgvc'),
        marks=('',),
        dataset=FGVC,
        splits=_named_splits('train', 'val', 'test'),
        source="the sets' authors, with the lists that VPT's repository links to",
    ),
    Layout(
        benchmark='few-shot',
        parents=('', 'few-shot', 'data', 'data/few-shot'),
        marks=(
            'annotations/{split}_meta.list',
            'annotations/{split}_meta.list.num_shot_1.seed_0',
            *COOP_FILES.values(),
        ),
        dataset=FewShotFGVC,
        splits=_fewshot_splits,
        source="the sets' authors, with the lists of NOAH's or CoOp's repository",
    ),
)

"""What tables are made of: backbones, tasks, spaces and schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mmdmlora.datasets.tasks import FEWSHOT_TASKS, FGVC_TASKS, VTAB_TASKS

from .spaces import Settings, Space, find_space, multiplied, read_space
from .study import EPOCHS, RATE, SCALE

# That of validation is made from the test's, see `Run`.
LOADERS = ('train_dataloader', 'test_dataloader')
FOLDERS = dict(vtab='vtab-1k', fgvc='fgvc', fewshot='few-shot')


def _grouped(prefix: str, tasks: Any) -> dict[str, str]:
    return {f'{prefix}-{task.name}': task.group for task in tasks}


def _no_settings(seed: int) -> Settings:
    return {}


def _data_of(seed: int) -> Settings:
    return {f'{name}.dataset.seed': seed for name in LOADERS}


@dataclass(frozen=True)
class Suite:
    """A set of backbones and tasks on which the paper's tables can be made.

    Attributes:
        name: Its name.
        backbone: The backbone of all tables but 3 and 4, a file of
            ``configs/_base_/backbones``.
        backbones: Those of table 3, by their names there.
        pretrained: Those of table 4.
        tasks: The tasks of tables 1, 3, 4, 6 and 7, with their groups.
        dispersed: The tasks of table 1.
        subset_tasks: Those of table 5.
        fewshot_tasks: Those of figure 2.
        space_of: The search space of a method.
        settings: Settings of all runs.
        seeded: The settings that a seed brings with it.
        rates: The learning rates of LoRA in the study.
        fewshot_seeded: The same for figure 2.
        data_root: The folder that holds the folders of the benchmarks; None where images
            are drawn, or to take those of the configs.
    """

    name: str
    backbone: str
    backbones: dict[str, str]
    pretrained: dict[str, str]
    tasks: dict[str, str]
    dispersed: tuple[str, ...]
    subset_tasks: dict[str, str]
    fewshot_tasks: dict[str, str]
    space_of: Callable[[str], Space]
    settings: Settings = field(default_factory=dict)
    seeded: Callable[[int], Settings] = _no_settings
    fewshot_seeded: Callable[[int], Settings] = _data_of
    rates: tuple[float, ...] = (2e-4, 5e-4, 1e-3)
    data_root: Path | None = None

    def settings_of(self, task: str) -> Settings:
        """The settings of all runs of a task."""
        if self.data_root is None:
            return self.settings
        folder = self.data_root / FOLDERS[task.partition('-')[0]]
        roots = {f'{name}.dataset.data_root': str(folder) for name in LOADERS}
        return {**self.settings, **roots}


def paper_suite(settings: Settings | None = None, data_root: Path | None = None) -> Suite:
    """VTAB-1k, FGVC and few-shot FGVC on the paper's backbones, for whoever has them.

    Args:
        settings: Settings of all runs.
        data_root: The folder that holds ``vtab-1k``, ``fgvc`` and ``few-shot``; ``data``
            by default.
    """
    space = read_space(find_space('paper'))
    return Suite(
        name='paper',
        backbone='vit-b16',
        backbones={
            'ConvNeXt-B': 'convnext-b',
            'Swin-B': 'swin-b',
            'ViT-B/16': 'vit-b16',
        },
        pretrained={'MAE': 'vit-b16-mae', 'MoCo': 'vit-b16-mocov3'},
        tasks=_grouped('vtab', VTAB_TASKS),
        dispersed=tuple(
            f'vtab-{name}'
            for name in (
                *('caltech101', 'flowers102', 'svhn', 'camelyon', 'eurosat'),
                *('resisc45', 'clevr-dist', 'dmlab', 'smallnorb-ele'),
            )
        ),
        subset_tasks=_grouped('fgvc', FGVC_TASKS),
        fewshot_tasks=_grouped('fewshot', FEWSHOT_TASKS),
        space_of=lambda method: space,
        settings=settings or {},
        data_root=data_root,
    )


MINI_TASKS = {
    'digits': 'Natural',
    'generated-dsprites-loc': 'Structured',
    'generated-dsprites-ori': 'Structured',
    'generated-count': 'Structured',
    'generated-dist': 'Structured',
}
MINI_EPOCHS = 15
# Around the embedded backbone's best in a first search over 15 epochs of two tasks, on
# validation images.
_ADAPTER_RATES = [2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1]
_MINI_RATES = {
    'full': [2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2],
    'linear': [3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0],
    'vpt-shallow': [5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 2e-1],
    **dict.fromkeys(('bitfit', 'adapter', 'vpt-deep', 'repadapter'), _ADAPTER_RATES),
}


def mini_space(method: str, factor: float = 1.0) -> Space:
    """Six combinations: six learning rates, or three and two scales of LoRA's kind.

    Args:
        method: A file of ``configs/_base_/methods``.
        factor: The learning rates are those of the embedded backbone times this.
    """
    if method in _MINI_RATES:
        return Space({RATE: multiplied(_MINI_RATES[method], factor)})
    return Space({RATE: multiplied([5e-3, 1e-2, 2e-2], factor), SCALE: [1.0, 10.0]})


def mini_suite(backbone: str = 'vit-tiny', settings: Settings | None = None) -> Suite:
    """Digits and four drawn tasks, which need no download.

    Each seed is one of the data too: other images are drawn, other digits are those for
    training.

    Args:
        backbone: ``vit-tiny`` comes with the package. Others, such as ``dinov2-s14-56``,
            need a file, and their learning rates are a tenth.
        settings: Settings of all runs, such as that file.
    """
    is_embedded = backbone == 'vit-tiny'
    return Suite(
        name='mini',
        backbone=backbone,
        backbones={backbone: backbone},
        pretrained={},
        tasks=MINI_TASKS,
        dispersed=('digits', 'generated-dsprites-loc', 'generated-count'),
        subset_tasks=MINI_TASKS,
        fewshot_tasks=MINI_TASKS,
        space_of=partial(mini_space, factor=1.0 if is_embedded else 0.1),
        settings={EPOCHS: MINI_EPOCHS, **(settings or {})},
        seeded=_data_of,
        rates=(2e-3, 5e-3, 1e-2) if is_embedded else (5e-4, 1e-3, 2e-3),
    )

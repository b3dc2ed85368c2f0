"""Composing an experiment from a backbone, a method and a task.

The file ``configs/<method>/<backbone>_<task>.py`` names three files below
``configs/_base_``. Where it exists it is read; where it doesn't, :func:`load_config`
builds the same from the name, so no combination needs a copy.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

from mmengine.config import Config

from mmdmlora.datasets.tasks import BENCHMARKS, find_task

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# The argument of a sizing step, and whether it wants a pair of lengths.
SIZES = dict(
    Resize=('scale', True),
    ResizeEdge=('scale', False),
    RandomResizedCrop=('scale', False),
    RandomCrop=('crop_size', False),
    CenterCrop=('crop_size', False),
)
TEMPLATE = """_base_ = [
    '../_base_/backbones/{backbone}.py',
    '../_base_/methods/{method}.py',
    '../_base_/tasks/{task}.py',
]
from mmdmlora.apis.compose import compose

globals().update(compose(_base_))
"""


def compose(base: dict) -> dict:
    """What an experiment's config adds to its bases.

    Args:
        base: The merged bases (``_base_`` inside a config file). The backbone's gives
            ``model`` and ``input_size``, the method's gives ``method``, the task's gives
            the data loaders and pipelines and either ``benchmark`` and ``task``, names
            of the table of tasks, or ``num_classes`` and perhaps ``group``.

    Returns:
        dict: ``model`` with the backbone wrapped by the method and a head for the
        task's classes, and the data loaders with their task and pipelines, images
        resized to the backbone's input.
    """
    task = None
    if 'task' in base:
        task = find_task(BENCHMARKS[base['benchmark']], base['task'])
    added: dict = dict(
        model=dict(
            backbone=dict(
                _delete_=True, module=base['model']['backbone'], **base['method']
            ),
            head=dict(num_classes=task.num_classes if task else base['num_classes']),
        )
    )
    for name in LOADERS:
        if base.get(name) is None:
            continue
        kind = 'train' if name == 'train_dataloader' else 'test'
        dataset = dict(pipeline=_resized(base[f'{kind}_pipeline'], base['input_size']))
        if task:
            dataset['task' if task.benchmark == 'VTAB-1k' else 'name'] = task.name
        added[name] = dict(dataset=dataset)
    group = task.group if task else base.get('group')
    if group == 'Structured' and 'structured_hooks' in base:
        added['default_hooks'] = base['structured_hooks']
    return added


def _resized(pipeline: list[dict], size: int) -> list[dict]:
    """The pipeline for images of ``size``, where a sizing step names no size.

    Resizing before a crop goes to 8/7 of the size (256 for 224).
    """
    pipeline = copy.deepcopy(pipeline)
    is_cropped = any(step['type'] in ('RandomCrop', 'CenterCrop') for step in pipeline)
    for step in pipeline:
        if step['type'] in SIZES:
            key, is_pair = SIZES[step['type']]
            has_margin = is_cropped and step['type'] in ('Resize', 'ResizeEdge')
            length = size * 8 // 7 if has_margin else size
            step.setdefault(key, (length, length) if is_pair else length)
    return pipeline


def load_config(path: str | Path) -> Config:
    """Read a config file, or compose it from its name.

    Args:
        path: A config file, or ``<configs>/<method>/<backbone>_<task>.py`` whose three
            parts exist in ``<configs>/_base_``.

    Raises:
        ValueError: If there is no such file and a part of the name is unknown; the
            message lists the known ones.
    """
    path = Path(path)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
        return Config.fromfile(path) if path.is_file() else _composed(path)


def _composed(path: Path) -> Config:
    base = path.parent.parent / '_base_'
    if path.suffix != '.py' or not base.is_dir() or '_' not in path.stem:
        raise ValueError(
            f'there is no config {str(path)!r}. Configs are named '
            'configs/<method>/<backbone>_<task>.py.'
        )
    backbone, task = path.stem.split('_', maxsplit=1)
    parts = dict(backbone=backbone, method=path.parent.name, task=task)
    for kind, name in parts.items():
        if not (base / f'{kind}s' / f'{name}.py').is_file():
            known = sorted(f.stem for f in (base / f'{kind}s').glob('*.py'))
            raise ValueError(
                f'no {kind} is named {name!r} (asked for by {str(path)!r}). Known are: '
                f'{", ".join(known)}.'
            )
    text = TEMPLATE.format(**parts).replace("'../", f"'{base.parent.resolve()}/")
    composed = Config.fromstring(text, '.py')
    return Config(composed.to_dict(), cfg_text=text, filename=str(path))

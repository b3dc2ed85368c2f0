"""Composing an experiment from a backbone, a method and a task.

The file ``configs/<method>/<backbone>_<task>.py`` names three files below
``configs/_base_``. Where it exists it is read; where it doesn't, :func:`load_config`
builds the same from the name, so no combination needs a file. Tuned settings are in
:mod:`.tuned`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdmlora.data_settings import LOADERS, dataset_settings, innermost_datasets
from mmdmlora.datasets.tasks import BENCHMARKS, Task, find_task

from .tuned import tuned

Reader = Callable[[Path], Config]
# The argument of a sizing step, and whether it wants a pair of lengths.
SIZES = dict(
    Resize=('scale', True),
    ResizeEdge=('scale', False),
    RandomResizedCrop=('scale', False),
    RandomCrop=('crop_size', False),
    CenterCrop=('crop_size', False),
)


def compose(base: dict, **changes) -> dict:
    """Compose an experiment from its bases and its own changes.

    In a config file::

        globals().update(
            compose(_base_, method=dict(scale=10.0), train_cfg=dict(max_epochs=100))
        )

    Args:
        base: The merged bases (``_base_`` inside a config file). The backbone's gives
            ``model`` and ``input_size``, the method's gives ``method``, the task's gives
            the data loaders and pipelines and either ``benchmark`` and ``task``, names
            of the table of tasks, or ``num_classes`` and perhaps ``group``. A method with
            ``needs_tokens`` isn't offered for a backbone with ``has_tokens=False``.
        **changes: Settings that replace those of the bases. They are merged like a child
            config (``_delete_=True`` included) before anything is composed, so
            ``method``, ``input_size`` or ``train_pipeline`` can be changed, too;
            ``model`` is the classifier before it is wrapped.

    Returns:
        dict: What the config adds to its bases: the changes, ``model`` with the backbone
        wrapped by the method and a head for the task's classes, and the data loaders
        with their task and pipelines, images resized to the backbone's input.
    """
    settings = _merged(base, changes)
    task = None
    if 'task' in settings:
        task = find_task(BENCHMARKS[settings['benchmark']], settings['task'])
    group = task.group if task else settings.get('group')
    added = {key: settings[key] for key in changes}
    if group == 'Structured' and 'structured_hooks' in settings:
        hooks = dict(default_hooks=settings['structured_hooks'])
        added['default_hooks'] = _merged(_merged(base, hooks), changes)['default_hooks']
    model = settings['model']
    num_classes = task.num_classes if task else settings['num_classes']
    if 'backbone' in model:
        wrapped = dict(module=model['backbone'], **settings['method'])
        head = dict(model['head'], num_classes=num_classes)
        added['model'] = dict(model, backbone=wrapped, head=head)
    else:  # a classifier of timm
        added['model'] = dict(model, num_classes=num_classes, method=settings['method'])
    for name in LOADERS:
        if settings.get(name) is not None:
            added[name] = _loader(name, settings, task)
    # Everything is complete: nothing of the bases may be merged into it again.
    return {
        key: dict(value, _delete_=True) if isinstance(base.get(key), dict) else value
        for key, value in added.items()
    }


def _merged(base: dict, changes: dict) -> dict:
    """The bases with changes, merged as mmengine merges a child config."""
    config = Config(copy.deepcopy(dict(base)))
    config.merge_from_dict(copy.deepcopy(changes), allow_list_keys=False)
    return config.to_dict()


def _loader(name: str, settings: dict, task: Task | None) -> dict:
    """A data loader with its task and its pipeline."""
    loader = copy.deepcopy(settings[name])
    kind = 'train' if name == 'train_dataloader' else 'test'
    for dataset in innermost_datasets(loader['dataset']).values():
        dataset['pipeline'] = _resized(
            settings[f'{kind}_pipeline'], settings['input_size']
        )
        if task:
            dataset['task' if task.benchmark == 'VTAB-1k' else 'name'] = task.name
    return loader


def places_of(name: str, config: Config) -> list[str] | None:
    """Where a composed config holds what :func:`compose` made of a setting.

    Args:
        name: A top-level setting that only :func:`compose` reads.
        config: The config that was composed.

    Returns:
        list[str]: The keys, with dots; none where the setting chose the whole
        experiment. None if the config isn't composed, or the setting not of this kind.
    """
    if 'method' not in config or 'input_size' not in config:
        return None
    if name in ('task', 'benchmark', 'group'):
        return []
    model, place = config.model, 'model'
    if 'backbone' in model:
        model, place = model.backbone.module, 'model.backbone.module'
    if name == 'method':
        return ['model.method' if place == 'model' else 'model.backbone']
    if name == 'structured_hooks':
        return ['default_hooks']
    if name in ('train_pipeline', 'test_pipeline'):
        loaders = LOADERS[:1] if name == 'train_pipeline' else LOADERS[1:]
        return [f'{place}.pipeline' for place in dataset_settings(config, loaders)]
    if name != 'input_size':
        return None
    return [f'{place}.img_size'] * ('img_size' in model) + [
        f'{place}.pipeline.{index}.{SIZES[step["type"]][0]}'
        for place, dataset in dataset_settings(config).items()
        for index, step in enumerate(dataset.pipeline)
        if step['type'] in SIZES
    ]


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


def read_quietly(path: Path) -> Config:
    """Read a config file, without the warning that mmengine's look for packages gives."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
        return Config.fromfile(path)


def load_config(path: str | Path, read: Reader = read_quietly) -> Config:
    """Read a config file, or compose it from its name.

    Args:
        path: A config file, or ``<configs>/<method>/<backbone>_<task>.py`` whose three
            parts exist in ``<configs>/_base_``. The backbone may be ``timm/<name>``.
        read: Reads a file. Where many configs are composed, one that remembers what it
            has read saves most of the time.

    Raises:
        ValueError: If there is no such file and a part of the name is unknown; the
            message lists the known ones.
    """
    path = Path(path)
    return read(path) if path.is_file() else _composed(path, read)


def _composed(path: Path, read: Reader) -> Config:
    is_timm = path.parent.name == 'timm'
    folder = path.parent.parent if is_timm else path.parent
    base = folder.parent / '_base_'
    if path.suffix != '.py' or not base.is_dir() or '_' not in path.stem:
        raise ValueError(
            f'there is no config {str(path)!r}. Configs are named '
            'configs/<method>/<backbone>_<task>.py.'
        )
    if is_timm:
        backbone, task = _split_timm(path.stem, base)
    else:
        backbone, task = path.stem.split('_', maxsplit=1)
    parts = dict(backbone=backbone, method=folder.name, task=task)
    read = cache(read)  # a task is read to find it, too
    bases: dict[str, Any] = {}
    for kind in parts:
        if kind != 'backbone' or not is_timm:
            part = read(find_part(base, kind, parts, read)).to_dict()
            if twice := bases.keys() & part.keys():
                raise ValueError(
                    f'{sorted(twice)} in the {kind} {parts[kind]!r} is also in another '
                    'part: a setting can only come from one.'
                )
            bases |= part
    text = config_text(**parts)
    composed = _merged(bases, compose(bases, **_changes(**parts)))
    return Config(composed, cfg_text=text, filename=str(path))


def _split_timm(stem: str, base: Path) -> tuple[str, str]:
    """A model's name in timm, which has underscores, and the longest task behind it."""
    names = {file.stem for file in (base / 'tasks').glob('*.py')}
    words = stem.split('_')
    for count in range(1, len(words)):
        task = '_'.join(words[count:])
        if task in names:
            return f'timm/{"_".join(words[:count])}', task
    return f'timm/{"_".join(words[:-1])}', words[-1]


def find_part(
    base: Path, kind: str, parts: dict[str, str], read: Reader = read_quietly
) -> Path:
    """Find the file of a part of an experiment.

    Args:
        base: The folder ``_base_``.
        kind: 'backbone', 'method' or 'task'.
        parts: The names of the experiment's parts by their kind.
        read: See :func:`load_config`.

    Raises:
        ValueError: If there is none, or it is only a base of other files; the message
            lists those that go together with the other parts.
    """
    file = base / f'{kind}s' / f'{parts[kind]}.py'
    if file.is_file() and (kind != 'task' or _is_whole_task(read(file))):
        return file
    others = {name: part for name, part in parts.items() if name != kind}
    known = [
        name
        for name in sorted(each.stem for each in file.parent.glob('*.py'))
        if (kind != 'task' or _is_whole_task(read(file.with_stem(name))))
        and _fit(base, read, **others, **{kind: name})
    ]
    raise ValueError(f'no {kind} is named {file.stem!r}. Known are: {", ".join(known)}.')


def _is_whole_task(config: Config) -> bool:
    return not {'task', 'num_classes'}.isdisjoint(config)


def _fit(
    base: Path, read: Reader, backbone: str = '', method: str = '', **others: str
) -> bool:
    """Whether a method can wrap a backbone, as far as both exist."""
    files = base / 'backbones' / f'{backbone}.py', base / 'methods' / f'{method}.py'
    if not all(file.is_file() for file in files):
        return True
    wrapped, wrapper = map(read, files)
    return wrapped.get('has_tokens', True) or not wrapper.get('needs_tokens', False)


def _changes(method: str, backbone: str, task: str) -> dict[str, Any]:
    """What the file of :func:`config_text` changes."""
    if backbone.startswith('timm/'):
        from .timm_backbone import timm_backbone

        return timm_backbone(backbone.removeprefix('timm/'))
    return tuned(method, f'{backbone}_{task}')


def config_text(method: str, backbone: str, task: str) -> str:
    """The text of a config file that only names its parts.

    Args:
        method: A file of ``configs/_base_/methods``.
        backbone: A file of ``configs/_base_/backbones``, or ``timm/<name>``.
        task: A file of ``configs/_base_/tasks``.
    """
    experiment = f'{backbone}_{task}'
    file, imports, changes = f"\n    '../_base_/backbones/{backbone}.py',", '', ''
    if backbone.startswith('timm/'):
        file = ''
        imports = 'from mmdmlora.apis.timm_backbone import timm_backbone\n'
        changes = f', **timm_backbone({backbone.removeprefix("timm/")!r})'
    elif tuned(method, experiment):
        imports = 'from mmdmlora.apis.tuned import tuned\n'
        changes = f', **tuned({method!r}, {experiment!r})'
    return f"""_base_ = [{file}
    '../_base_/methods/{method}.py',
    '../_base_/tasks/{task}.py',
]
from mmdmlora.apis.compose import compose
{imports}
globals().update(compose(_base_{changes}))
"""

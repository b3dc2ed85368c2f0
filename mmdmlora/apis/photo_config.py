"""The config of a training on photos of one's own, as a short file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from mmdmlora.io import expand_home

from .checks import pretrained_backbone
from .compose import find_part, load_config
from .locations import config_root

EPOCHS = 60
BATCH = 64
STEPS = 4  # of an epoch, where the photos are few
FEW = 1000
MIN_SIZE = 8


@dataclass(frozen=True)
class PhotoSettings:
    """What a training on photos is asked for.

    Attributes:
        backbone (str): A file of ``configs/_base_/backbones``, or ``timm/<name>``.
        method (str): A file of ``configs/_base_/methods``.
        size (int, optional): The side of the backbone's square input in pixels. None
            means the size that the backbone's config, or timm, has.
        weights (str, optional): The backbone's checkpoint. None means its config's.
        epochs (int): How often the training images are seen. Defaults to 60.

    Raises:
        ValueError: If a number is out of range, or a name unknown; the message lists the
            known ones.
    """

    backbone: str = 'vit-tiny'
    method: str = 'dmlora'
    size: int | None = None
    weights: str | None = None
    epochs: int = EPOCHS

    def __post_init__(self) -> None:
        if self.size is not None and self.size < MIN_SIZE:
            raise ValueError(f'--size must be at least {MIN_SIZE}, got {self.size}.')
        if self.epochs < 1:
            raise ValueError(f'--epochs must be at least 1, got {self.epochs}.')
        names = dict(backbone=self.backbone, method=self.method)
        for kind in names:
            if kind != 'backbone' or not self.is_timm:
                find_part(config_root() / '_base_', kind, names)

    @property
    def is_timm(self) -> bool:
        """Whether the backbone is a model of timm."""
        return self.backbone.startswith('timm/')

    def bases(self) -> list[str]:
        """The files that the config is based on."""
        names = [f'backbones/{self.backbone}'] if not self.is_timm else []
        names += [f'methods/{self.method}', 'photos']
        return [str(config_root() / '_base_' / f'{name}.py') for name in names]

    def changes(self) -> list[str]:
        """The arguments of ``compose`` that the backbone needs, as text."""
        init_cfg = dict(type='Pretrained', checkpoint=_from_anywhere(self.weights))
        if self.is_timm:
            arguments = [repr(self.backbone.removeprefix('timm/'))]
            if self.size:
                arguments.append(f'img_size={self.size}')
            if self.weights:
                arguments.append(f'init_cfg={init_cfg!r}')
            return [f'**timm_backbone({", ".join(arguments)})']
        backbone: dict = {}
        config = load_config(self.bases()[0])
        if self.size and 'img_size' in pretrained_backbone(config):
            backbone['img_size'] = self.size
        if self.weights:
            backbone['init_cfg'] = dict(init_cfg, _delete_=True)
        lines = [f'input_size={self.size}'] if self.size else []
        return lines + ([f'model=dict(backbone={backbone!r})'] if backbone else [])


def _from_anywhere(weights: str | None) -> str | None:
    """The same file from any working directory."""
    if weights is None or '://' in weights:
        return weights
    return os.path.abspath(expand_home(weights))


def photo_config_text(
    settings: PhotoSettings,
    root: str,
    lists: str | Path,
    counts: Mapping[str, int],
    classes: Sequence[str],
) -> str:
    """The text of the config.

    A batch has at most 64 images, and a quarter of the training images where they are
    fewer than 256, so that each epoch has four steps. The learning rate rises in the
    first twentieth of the run, then falls in a cosine. Each epoch is validated.

    Args:
        settings (PhotoSettings): What is asked for.
        root (str): The folder of the photos.
        lists (str | Path): The folder of ``classes.txt``, ``train.txt``, ``val.txt`` and
            ``test.txt``, see :func:`~mmdmlora.datasets.photos.write_lists`.
        counts (Mapping): The number of images in each split.
        classes (Sequence[str]): The names of the classes.
    """
    batch = max(1, min(BATCH, counts['train'] // STEPS))
    num_workers = 0 if counts['train'] < FEW else 4
    loaders = [
        _loader_text(name, root, lists, batch if name == 'train' else BATCH, num_workers)
        for name in ('train', 'val', 'test')
    ]
    warm_up = settings.epochs // 20
    cosine = dict(type='CosineAnnealingLR', begin=warm_up, convert_to_iter_based=True)
    rise = dict(
        type='LinearLR', start_factor=1e-2, end=warm_up, convert_to_iter_based=True
    )
    schedule = (
        [rise, dict(cosine, eta_min=1e-5)] if warm_up else [dict(cosine, eta_min=1e-5)]
    )
    changes = [
        *settings.changes(),
        f'num_classes={len(classes)}',
        f'train_cfg=dict(by_epoch=True, max_epochs={settings.epochs}, val_interval=1)',
        _list_text('param_scheduler', schedule),
        *loaders,
    ]
    imports = ['from mmdmlora.apis.compose import compose']
    if settings.is_timm:
        imports.append('from mmdmlora.apis.timm_backbone import timm_backbone')
    split = ', '.join(f'{count} {name}' for name, count in counts.items())
    lines = [
        f'# {settings.method} on {settings.backbone} for photos of {len(classes)} classes'
        f' ({split}).',
        '# Train it again with: mmdmlora train FILE. The lists beside this file fix the',
        '# split; the label in them is the place in classes.txt, from 0.',
        '_base_ = [',
        *(f'    {base!r},' for base in settings.bases()),
        ']',
        *imports,
        '',
        'globals().update(',
        '    compose(',
        '        _base_,',
        *(f'        {change},'.replace('\n', '\n        ') for change in changes),
        '    )',
        ')',
    ]
    return '\n'.join([*lines, ''])


def photo_config(text: str, name: str) -> Config:
    """The config of a text, under the name of a file."""
    composed = Config.fromstring(text, '.py')
    return Config(composed.to_dict(), cfg_text=text, filename=name)


def _loader_text(
    name: str, root: str, lists: str | Path, batch: int, num_workers: int
) -> str:
    files = {
        'data_root': root,
        'ann_file': str(Path(lists, f'{name}.txt')),
        'classes': str(Path(lists, 'classes.txt')),
    }
    return '\n'.join(
        [
            f'{name}_dataloader=dict(',
            f'    batch_size={batch},',
            f'    num_workers={num_workers},',
            '    dataset=dict(',
            *(f'        {key}={value!r},' for key, value in files.items()),
            '    ),',
            ')',
        ]
    )


def _list_text(name: str, items: list[dict]) -> str:
    rows = (
        f'    dict({", ".join(f"{key}={value!r}" for key, value in item.items())}),'
        for item in items
    )
    return '\n'.join([f'{name}=[', *rows, ']'])

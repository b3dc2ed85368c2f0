"""A sheet of samples: what a model is shown, after the config's pipeline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image, ImageDraw, ImageFont

from mmdmlora.data_settings import innermost_datasets
from mmdmlora.io import expand_home
from mmdmlora.registry import DATASETS

TILE = 112
SPACE = 8
CAPTION = 18
HEADING = 30
INK = (30, 30, 30)


def browse(configs: Sequence[Config], columns: int = 10, rows: int = 3) -> Image.Image:
    """Draw samples of training sets, one section for each config.

    The samples run through the classes in turn, so that as many classes as possible are
    shown; in a class they come in the order of the data set.

    Args:
        configs (Sequence[Config]): Configs with a ``train_dataloader``.
        columns (int): The number of samples in a row. Defaults to 10.
        rows (int): The most rows of a section. Defaults to 3.

    Returns:
        Image.Image: The sheet, in RGB.

    Raises:
        ValueError: If a config has no training set or the data is missing.
    """
    sections = [_section(config, columns, rows) for config in configs]
    width = max(section.width for section in sections)
    sheet = Image.new('RGB', (width, sum(s.height for s in sections)), 'white')
    top = 0
    for section in sections:
        sheet.paste(section, (0, top))
        top += section.height
    return sheet


def _section(config: Config, columns: int, rows: int) -> Image.Image:
    """A heading and a grid of captioned samples."""
    dataset = _training_set(config)
    labels = [dataset.get_data_info(i)['gt_label'] for i in range(len(dataset))]
    chosen = _in_turn(labels, columns * rows)
    height = HEADING + -(-len(chosen) // columns) * (TILE + CAPTION + SPACE)
    section = Image.new('RGB', (columns * (TILE + SPACE) + SPACE, height), 'white')
    pen = ImageDraw.Draw(section)
    pen.text((SPACE, 8), _heading(config, dataset), INK, ImageFont.load_default(15))
    classes = dataset.metainfo.get('classes')
    for place, index in enumerate(chosen):
        packed = dataset[index]
        label = int(packed['data_samples'].gt_label)
        left = SPACE + place % columns * (TILE + SPACE)
        top = HEADING + place // columns * (TILE + CAPTION + SPACE)
        picture = tile(packed['inputs'].numpy(), is_bgr(config))
        # Long pictures keep their shape, in the middle of the tile.
        offset = (left + (TILE - picture.width) // 2, top + (TILE - picture.height) // 2)
        section.paste(picture, offset)
        _caption(pen, classes[label] if classes else str(label), left, top + TILE)
    return section


def _training_set(config: Config):
    if not config.get('train_dataloader'):
        raise ValueError(f'{config.filename} has no train_dataloader.')
    init_default_scope(config.get('default_scope', 'mmpretrain'))
    expand_home(config._cfg_dict)
    return DATASETS.build(config.train_dataloader.dataset)


def is_bgr(config: Config) -> bool:
    """Whether pictures leave the pipeline in BGR order: the model turns them around."""
    preprocessor = config.get('data_preprocessor') or {}
    inner = (config.get('model') or {}).get('data_preprocessor') or {}
    return bool({**preprocessor, **inner}.get('to_rgb'))


def _in_turn(labels: Sequence[int], count: int) -> list[int]:
    """Positions of samples: the first of each class, then the second of each."""
    members: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)
    ranked = sorted(
        (rank, label, index)
        for label, indices in members.items()
        for rank, index in enumerate(indices[:count])
    )
    return [index for _, _, index in ranked[:count]]


def tile(inputs: np.ndarray, bgr: bool) -> Image.Image:
    """A picture (C, H, W), enlarged by a whole number or shrunk to fit a tile."""
    pixels = np.clip(inputs, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    pixels = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
    picture = Image.fromarray(pixels[..., ::-1] if bgr else pixels)
    if max(picture.size) > TILE:
        picture.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
        return picture
    times = TILE // max(picture.size)
    size = (times * picture.width, times * picture.height)
    return picture.resize(size, Image.Resampling.NEAREST)


def _heading(config: Config, dataset) -> str:
    title = ' + '.join(
        ' '.join(str(x[key]) for key in ('task', 'name', 'split') if x.get(key))
        for x in innermost_datasets(config.train_dataloader.dataset).values()
    )
    shape = dataset[0]['inputs'].shape
    return (
        f'{type(dataset).__name__} {title}: {len(dataset)} images, '
        f'{shape[-1]} x {shape[-2]} pixels after the pipeline'
    )


def _caption(pen: ImageDraw.ImageDraw, text: str, left: int, top: int) -> None:
    """Write below a tile; what doesn't fit is cut off."""
    font = ImageFont.load_default(12)
    whole = text
    while pen.textlength(text, font) > TILE:
        whole = whole[:-1]
        text = f'{whole}...'
    pen.text((left + (TILE - pen.textlength(text, font)) / 2, top + 2), text, INK, font)

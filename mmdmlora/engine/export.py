"""Writing a merged model that loads without this package."""

from __future__ import annotations

import copy
from pathlib import Path

from mmengine.config import Config
from torch import nn

from mmdmlora.io import WEIGHTS_ENDINGS, is_unchanged, save_weights, write_signed
from mmdmlora.models.merging import merge_model
from mmdmlora.models.peft_model import PEFTModel
from mmdmlora.registry import MODELS


def save_merged(
    model: nn.Module, config: Config, out: str | Path, dataset_meta: dict | None = None
) -> Path:
    """Write a merged model and a stock mmpretrain config for it.

    Args:
        model: A model with wrapped backbones.
        config: The config that it was built from.
        out: Where to write the checkpoint, see
            :func:`~mmdmlora.io.weights.save_weights`. The config goes beside it with
            the ending ``.py``.
        dataset_meta: Class names and the like, kept in the checkpoint.

    Returns:
        Path: The config's path.

    Raises:
        ValueError: If the method can't be merged; see also :func:`config_beside`.
    """
    config_path = config_beside(out)
    merged = merge_model(model)
    save_weights(merged.state_dict(), out, dataset_meta)
    write_signed(stock_config(config).pretty_text, config_path)
    return config_path


def config_beside(out: str | Path) -> Path:
    """Where the config of a merged model goes.

    Args:
        out: Where its weights go.

    Raises:
        ValueError: If the ending of ``out`` isn't one of weights, or something else
            than an unchanged config of a merged model stands beside it.
    """
    if Path(out).suffix not in WEIGHTS_ENDINGS:
        raise ValueError(
            f'{str(out)!r} must end in one of {list(WEIGHTS_ENDINGS)}: the file holds '
            'weights. Its config goes beside it, with the ending .py.'
        )
    config_path = Path(out).with_suffix('.py')
    if config_path.exists() and not (config_path.is_file() and is_unchanged(config_path)):
        raise ValueError(
            f'{str(config_path)!r}, where the config of the merged model goes, was not '
            'written by a merge, or was changed since. Name another place for the merged '
            'model, or move that file away.'
        )
    return config_path


def stock_config(config: Config) -> Config:
    """The config of the merged model, with types of mmpretrain and mmengine only.

    It holds the model without wrappers and pre-trained files, the preprocessing, and the
    test pipeline in the place where mmpretrain's inferencer looks for it.
    """
    source = config.to_dict()
    stock = dict(default_scope='mmpretrain', model=_unwrapped(source['model']))
    if source.get('data_preprocessor') is not None:
        stock['data_preprocessor'] = source['data_preprocessor']
    loader = source.get('test_dataloader') or source.get('val_dataloader')
    if loader:
        stock['test_dataloader'] = dict(
            dataset=dict(
                type='CustomDataset',
                data_root='data',
                pipeline=[dict(type='LoadImageFromFile')]
                + [
                    step
                    for step in loader['dataset'].get('pipeline', [])
                    if not _loads_images(step)
                ],
            )
        )
    return Config(stock)


def _loads_images(step: dict) -> bool:
    kind = step['type']
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition('.')[2] == 'LoadImageFromFile'


def _unwrapped(node: object) -> object:
    """A model's config with each wrapper replaced by the backbone that it wraps."""
    if isinstance(node, list | tuple):
        return type(node)(_unwrapped(item) for item in node)
    if not isinstance(node, dict):
        return node
    node = {k: v for k, v in node.items() if k != '_scope_'}
    if isinstance(node.get('type'), str) and isinstance(node.get('module'), dict):
        built = MODELS.get(node['type'])
        if isinstance(built, type) and issubclass(built, PEFTModel):
            backbone = copy.deepcopy(node['module'])
            backbone.pop('init_cfg', None)
            return _unwrapped(backbone)
    return {k: _unwrapped(v) for k, v in node.items()}

"""Writing a merged model that loads without this package."""

from __future__ import annotations

import copy
from pathlib import Path

from mmengine.config import Config
from mmengine.runner.checkpoint import weights_to_cpu
from torch import nn

from mmdmlora.data_settings import innermost_datasets
from mmdmlora.io import atomic_save, atomic_write
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
        out: Where to write the checkpoint. The config goes beside it with the ending
            ``.py``.
        dataset_meta: Class names and the like, kept in the checkpoint.

    Returns:
        Path: The config's path.

    Raises:
        ValueError: If the method can't be merged.
    """
    out = Path(out)
    merged = merge_model(model)
    checkpoint = dict(
        meta=dict(dataset_meta=dataset_meta or {}),
        state_dict=weights_to_cpu(merged.state_dict()),
    )
    atomic_save(checkpoint, out)
    config_path = out.with_suffix('.py')
    with atomic_write(config_path) as stream:
        stream.write(stock_config(config).pretty_text.encode())
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
        dataset, *_ = innermost_datasets(loader['dataset']).values()
        pipeline = dataset.get('pipeline', [])
        stock['test_dataloader'] = dict(
            dataset=dict(
                type='CustomDataset',
                data_root='data',
                pipeline=[dict(type='LoadImageFromFile')]
                + [step for step in pipeline if not _loads_images(step)],
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

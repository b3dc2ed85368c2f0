"""Writing a merged model that loads without this package."""

from __future__ import annotations

import copy
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import Registry
from torch import nn

from mmdmlora.data_settings import innermost_datasets
from mmdmlora.io import (
    WEIGHTS_ENDINGS,
    is_unchanged,
    save_weights,
    write_signed,
)
from mmdmlora.models.consistency_classifier import ConsistencyClassifier
from mmdmlora.models.merging import merge_model
from mmdmlora.models.peft_model import PEFTModel
from mmdmlora.models.timm_classifier import TimmClassifier
from mmdmlora.registry import DATASETS, MODELS, TRANSFORMS

from .type_name import type_name

PACKAGE = 'mmdmlora'
LOADING = 'LoadImageFromFile'
# What a test needs beside the model and the data.
TEST_SETTINGS = (
    'test_pipeline',
    'test_evaluator',
    'test_cfg',
    'tta_model',
    'tta_pipeline',
    'env_cfg',
    'vis_backends',
    'visualizer',
)


def save_merged(
    model: nn.Module, config: Config, out: str | Path, dataset_meta: dict | None = None
) -> Path:
    """Write a merged model and a stock config for it, see :func:`stock_config`.

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
    """The config of the merged model, without types of this package.

    It holds the model without wrappers and pre-trained files, the preprocessing, and
    what a test needs in the places where the toolboxes' own tools and inferencers look
    for it. A config of another toolbox (mmsegmentation, mmdetection) keeps its scope,
    data and evaluation. One of this package's scope becomes one of mmpretrain, and test
    data of this package a ``CustomDataset`` with the same pipeline.
    """
    source = config.to_dict()
    scope = source.get('default_scope') or PACKAGE
    stock = dict(
        default_scope='mmpretrain' if scope == PACKAGE else scope,
        model=_unwrapped(source['model'], scope),
    )
    imports = _foreign_imports(source.get('custom_imports') or {})
    if imports:
        stock['custom_imports'] = imports
    if source.get('data_preprocessor') is not None:
        stock['data_preprocessor'] = source['data_preprocessor']
    loader = source.get('test_dataloader') or source.get('val_dataloader')
    if loader and _has_own(loader['dataset'], scope):
        innermost, *_ = innermost_datasets(loader['dataset']).values()
        pipeline = [dict(type=LOADING)] + [
            step for step in innermost.get('pipeline', []) if type_name(step) != LOADING
        ]
        dataset = dict(type='CustomDataset', data_root='data', pipeline=pipeline)
        stock['test_dataloader'] = dict(dataset=dataset)
    elif loader:
        settings = {
            key: source[key] for key in TEST_SETTINGS if source.get(key) is not None
        }
        stock.update(settings, test_dataloader=loader)
    return Config(_with_stock_loading(stock, scope))


def _foreign_imports(imports: dict) -> dict:
    """The modules that a config imports, without this package."""
    modules = imports.get('imports') or []
    modules = [modules] if isinstance(modules, str) else modules
    foreign = [m for m in modules if m.split('.')[0] != PACKAGE]
    return dict(imports, imports=foreign) if foreign else {}


def _find_own(kind: object, registry: Registry, scope: str) -> object:
    """What a ``type`` of a config names, if it is of this package; else None."""
    if isinstance(kind, str):
        prefix = kind.rpartition('.')[0] or scope
        kind = registry.get(kind) if prefix.split('.')[0] == PACKAGE else None
    module = getattr(kind, '__module__', '')
    return kind if module.split('.')[0] == PACKAGE else None


def _has_own(dataset: dict, scope: str) -> bool:
    """Whether a data set, or one inside of its wrappers, is of this package."""
    return any(
        _find_own(each.get('type'), DATASETS, scope) is not None
        for each in innermost_datasets(dataset).values()
    )


def _with_stock_loading(node: object, scope: str) -> object:
    """With the loading of images that every installation has."""
    if isinstance(node, list | tuple):
        return type(node)(_with_stock_loading(item, scope) for item in node)
    if not isinstance(node, dict):
        return node
    own = _find_own(node.get('type'), TRANSFORMS, scope)
    if getattr(own, '__name__', '') == LOADING:
        return dict(type=LOADING)
    return {key: _with_stock_loading(item, scope) for key, item in node.items()}


def _unwrapped(node: object, scope: str) -> object:
    """A model's config with each wrapper replaced by the backbone that it wraps."""
    if isinstance(node, list | tuple):
        return type(node)(_unwrapped(item, scope) for item in node)
    if not isinstance(node, dict):
        return node
    node = {k: v for k, v in node.items() if k != '_scope_'}
    if isinstance(node.get('module'), dict):
        own = _find_own(node.get('type'), MODELS, scope)
        if isinstance(own, type) and issubclass(own, PEFTModel):
            backbone = copy.deepcopy(node['module'])
            backbone.pop('init_cfg', None)
            return _unwrapped(backbone, scope)
    kind = _find_own(node.get('type'), MODELS, scope)
    if kind is ConsistencyClassifier:
        node = {k: v for k, v in node.items() if k != 'consistency'}
        node['type'] = 'mmpretrain.ImageClassifier'
    if 'method' in node and kind is TimmClassifier:
        node = {k: v for k, v in node.items() if k not in ('method', 'init_cfg')}
        return dict(node, type='mmpretrain.TimmClassifier', pretrained=False)
    return {k: _unwrapped(v, scope) for k, v in node.items()}

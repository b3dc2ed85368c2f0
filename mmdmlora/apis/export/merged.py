"""The merged model: mmpretrain's checkpoint, safetensors, and timm's state dict."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS as STOCK
from torch import Tensor

from mmdmlora.engine.export import save_merged
from mmdmlora.io import load_checkpoint, save_weights

from .classifier import TrainedClassifier
from .timm_model import timm_model


def write_stock(trained: TrainedClassifier, out: Path) -> str:
    """Write the merged model with mmpretrain's names and a stock config beside it."""
    # The preprocessing is the config's, and its buffers are no weights.
    config = save_merged(trained.model, trained.config, out, trained.meta)
    if out.suffix == '.safetensors':
        return (
            f'model = mmpretrain.get_model({str(config)!r})\n'
            f'model.load_state_dict(safetensors.torch.load_file({str(out)!r}))'
        )
    return f'model = mmpretrain.get_model({str(config)!r}, pretrained={str(out)!r})'


@torch.no_grad()
def stock_logits(trained: TrainedClassifier, out: Path, images: Tensor) -> Tensor:
    """The logits of mmpretrain's model with what was written."""
    config = Config.fromfile(out.with_suffix('.py'))
    model = STOCK.build(config.model)
    model.load_state_dict(_read_state(out), strict=True)
    return model.eval()(trained.inputs(images))


def write_timm(trained: TrainedClassifier, out: Path, name: str | None) -> str:
    """Write the merged model as the state dict of timm's model."""
    target = timm_model(trained, name)
    merged = trained.merged
    backbone = merged.backbone if hasattr(merged, 'backbone') else merged.model
    target.load(backbone.state_dict(), trained.head)
    save_weights(target.model.state_dict(), out, dict(model=target.code, **trained.meta))
    load = 'safetensors.torch.load_file({!r})'
    if out.suffix != '.safetensors':
        load = "torch.load({!r})['state_dict']"
    return f'model = {target.code}\nmodel.load_state_dict({load.format(str(out))})'


@torch.no_grad()
def timm_logits(
    trained: TrainedClassifier, out: Path, images: Tensor, name: str | None
) -> Tensor:
    """The logits of timm's model with what was written."""
    model = timm_model(trained, name).model
    model.load_state_dict(_read_state(out), strict=True)
    return model(trained.inputs(images))


def _read_state(file: Path) -> dict[str, Tensor]:
    if file.suffix == '.safetensors':
        return safetensors.torch.load_file(file)
    return load_checkpoint(str(file))['state_dict']

"""Folders as a training leaves them, without the training."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import set_random_seed
from torch import nn

from mmdmlora.registry import MODELS
from tests.peft_runner import DMLORA, config
from tests.tiny import randomize

CLASSES = [f'class {i}' for i in range(10)]


def trained_run(
    folder: Path, backbone: str = 'vit', wrapper: dict = DMLORA, **overrides
) -> nn.Module:
    """Write a config and ``epoch_3.pth`` with random adapters; the model."""
    settings = config(folder, copy.deepcopy(wrapper), backbone, **overrides)
    return write_run(folder, settings)


def write_run(folder: Path, settings: Config) -> nn.Module:
    """The same for any config."""
    folder.mkdir(parents=True, exist_ok=True)
    settings.dump(folder / 'experiment.py')
    set_random_seed(settings.randomness.seed)
    model = MODELS.build(
        dict(settings.model, data_preprocessor=settings.data_preprocessor)
    )
    for wrapper in model.modules():
        if hasattr(wrapper, 'adapters') and hasattr(wrapper, 'draws'):
            randomize(wrapper)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'head' in name:
                parameter.normal_(std=0.5)
            elif name.endswith('log_scale'):
                parameter.uniform_(-0.5, 0.5)
    checkpoint = dict(
        state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES))
    )
    torch.save(checkpoint, folder / 'epoch_3.pth')
    (folder / 'last_checkpoint').write_text('/elsewhere/epoch_3.pth')
    return model.eval()

"""A trained classifier as exports see it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmpretrain.models import BaseClassifier, TimmClassifier
from torch import Tensor, nn

from mmdmlora.apis.run import load_trained
from mmdmlora.apis.trained_run import TrainedRun
from mmdmlora.data_settings import dataset_settings
from mmdmlora.models.merging import merge_model
from mmdmlora.models.peft_model import PEFTModel, find_wrappers

NUM_IMAGES = 4
RESIZING = ('Resize', 'CenterCrop', 'ResizeEdge', 'RandomResizedCrop')


@dataclass
class TrainedClassifier:
    """A trained classifier.

    Args:
        model: The classifier, with adapters or merged, in evaluation mode.
        config: The config that it was built from.
        meta: What the checkpoint says of the data set.
        size: The side of its images in pixels.
    """

    model: Any
    config: Config
    meta: dict
    size: int

    @cached_property
    def merged(self) -> Any:
        """The same with adapters folded in.

        Raises:
            ValueError: If the method can't be merged.
        """
        return merge_model(self.model).eval()

    @property
    def classes(self) -> list[str]:
        """The names of the classes; numbers where the checkpoint names none."""
        names = self.meta.get('classes')
        if names:
            return [str(name) for name in names]
        return [str(i) for i in range(self.head.out_features)]

    @property
    def wrapper(self) -> PEFTModel | None:
        """The wrapper, if there is one.

        Raises:
            ValueError: If there are several.
        """
        wrappers = find_wrappers(self.model)
        if len(wrappers) > 1:
            raise ValueError(
                f'the model has {len(wrappers)} wrapped backbones: only models with one '
                'can be exported to another library.'
            )
        return wrappers[0] if wrappers else None

    @cached_property
    def bare_backbone(self) -> Any:
        """The backbone without adapters."""
        if self.wrapper is not None:
            return self.wrapper.bare_module()
        return getattr(self.model, 'backbone', None) or self.model.model

    @property
    def head(self) -> nn.Linear:
        """The classifier's one linear layer.

        Raises:
            ValueError: If its head is something else.
        """
        if isinstance(self.model, TimmClassifier):
            inner = self.bare_backbone
            return inner.get_submodule(inner.pretrained_cfg['classifier'])
        layers = [m for m in self.model.head.modules() if isinstance(m, nn.Linear)]
        trained = {id(p) for layer in layers for p in layer.parameters()}
        others = [p for p in self.model.head.parameters() if id(p) not in trained]
        if len(layers) != 1 or others:
            raise ValueError(
                f'the head {type(self.model.head).__name__} is not one linear layer, '
                'which is all that other libraries have there. Export to onnx, '
                'torch-export, safetensors or mmpretrain.'
            )
        return layers[0]

    @property
    def is_rounded(self) -> bool:
        """Whether frozen weights are kept in a smaller type."""
        return any(w.frozen_dtype is not None for w in find_wrappers(self.model))

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """The logits of decoded images, through the preprocessing.

        Args:
            images: RGB, uint8, ``(N, H, W, 3)``.

        Returns:
            Tensor: ``(N, classes)``, single precision. With ``frozen_dtype`` they are
            the merged model's, whose arithmetic isn't rounded.
        """
        model = self.merged if self.is_rounded else self.model
        return model(self.inputs(images)).float()

    def inputs(self, images: Tensor) -> Tensor:
        """What the network reads, ``(N, 3, H, W)``, of images as in :meth:`logits`."""
        # Pipelines decode as OpenCV does, to BGR.
        decoded = images.flip(-1).permute(0, 3, 1, 2).contiguous()
        return self.model.data_preprocessor(dict(inputs=decoded))['inputs']


def read_classifier(run: TrainedRun, size: int | None = None) -> TrainedClassifier:
    """Load a trained classifier.

    Args:
        run: Its config and checkpoint.
        size: The side of its images in pixels. Defaults to that of the test pipeline.

    Raises:
        ValueError: If it is no classifier or doesn't load, see
            :func:`~mmdmlora.apis.run.load_trained`.
    """
    config = run.read_config()
    model, meta = load_trained(config, str(run.checkpoint))
    if not isinstance(model, BaseClassifier):
        raise ValueError(
            f'{Path(run.config).name} builds a {type(model).__name__}: only image '
            'classifiers can be exported. `mmdmlora merge` gives any model a form that '
            'its own toolbox can export.'
        )
    return TrainedClassifier(model.eval(), config, meta, size or input_size(config))


def input_size(config: Config) -> int:
    """The side of the images that a config's model reads, in pixels.

    Raises:
        ValueError: If the config doesn't say.
    """
    loaders = ('test_dataloader', 'val_dataloader', 'train_dataloader')
    for dataset in dataset_settings(config, loaders).values():
        for step in reversed(dataset.get('pipeline', [])):
            name = str(step.get('type')).rpartition('.')[2]
            size = step.get('crop_size', step.get('scale')) if name in RESIZING else None
            if size is not None:
                return _side(size)
    backbone = config.model.get('backbone') or {}
    size = (backbone.get('module') or backbone).get('img_size', config.get('input_size'))
    if size is None:
        raise ValueError(
            'the config does not say how large its images are: give --size PIXELS.'
        )
    return _side(size)


def _side(size: int | list | tuple) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) > 1:
        raise ValueError(
            f'the images are {size} pixels large, not square: only square ones '
            'can be exported.'
        )
    return int(sides.pop())


def sample_images(size: int, number: int = NUM_IMAGES) -> Tensor:
    """Generated images to compare logits on, RGB, uint8, ``(N, size, size, 3)``."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(number, 3, 5, 5, generator=generator)
    smooth = F.interpolate(coarse, (size, size), mode='bicubic')
    noise = 0.1 * torch.randn(number, 3, size, size, generator=generator)
    return (255 * (smooth + noise).clamp(0, 1)).byte().permute(0, 2, 3, 1).contiguous()

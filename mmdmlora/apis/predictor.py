"""Using a trained classifier on images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile as MMCVLoadImageFromFile
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.registry import DefaultScope
from mmpretrain.models.classifiers.base import BaseClassifier
from PIL import Image
from torch import nn

from mmdmlora.data_settings import innermost_datasets
from mmdmlora.datasets.images import LoadImageFromFile
from mmdmlora.io import expand_home
from mmdmlora.models.merging import merge_model
from mmdmlora.quiet_log import quiet_log

from .compose import load_config
from .trained_run import find_checkpoint, find_run_config, load_trained

Picture = str | Path | np.ndarray | Image.Image
P = TypeVar('P', bound=Picture)
Scores = list[tuple[str, float]]
"""Classes with their probabilities, the most likely first."""


class Predictor:
    """A trained classifier, ready for images::

        predictor = mmdmlora.Predictor('work_dirs/photos')
        predictor('a b.jpg')  # [('cat', 0.83), ('dog', 0.12), ('cow', 0.05)]
        predictor(['a.jpg', 'b.png'])  # a list of those

    The adapters are folded into the backbone, and images are treated as in the tests of
    the run, so scores equal those of mmpretrain's ``ImageClassificationInferencer`` for
    the merged model.

    Args:
        run (str | Path): The folder of a training, or a checkpoint that a training or a
            merge has written. Of a folder the last checkpoint is taken, whose test the
            training reports and whose merged model it writes.
        best (bool): Take the checkpoint that was best on the validation images. With few
            of them it is often an early one that was lucky. Defaults to False.
        config (str | Path, optional): The config of the training. None means the one
            beside the checkpoint. A config is Python code, which runs.
        topk (int): How many classes are given; fewer where there are fewer. Defaults
            to 3.
        batch_size (int): Images in a forward. Defaults to 32.
        device (str | torch.device, optional): None means a GPU if there is one.

    Attributes:
        classes (list[str]): The names of the classes; empty where the data has none, and
            numbers take their place.

    Raises:
        ValueError: If there is no run, config or checkpoint, they don't belong together,
            the model is no classifier, or a number is below 1.
    """

    def __init__(
        self,
        run: str | Path,
        best: bool = False,
        config: str | Path | None = None,
        topk: int = 3,
        batch_size: int = 32,
        device: str | torch.device | None = None,
    ) -> None:
        for name, value in dict(topk=topk, batch_size=batch_size).items():
            if type(value) is not int or value < 1:
                raise ValueError(f'{name} must be a whole number above 0, got {value!r}.')
        self.topk = topk
        self.batch_size = batch_size
        self.device = _device(device)
        checkpoint = find_checkpoint(run, best)
        settings = load_config(
            expand_home(Path(config)) if config else find_run_config(checkpoint)
        )
        with quiet_log():
            model, meta = load_trained(settings, checkpoint)
        if not isinstance(model, BaseClassifier):
            raise ValueError(
                f'Predictor is for classifiers, got {type(model).__name__}: merge it, '
                "and use its toolbox's own inferencer."
            )
        self._model = _folded(model).to(self.device).eval()
        self._loading, self._pipeline = _test_pipeline(settings)
        self.classes = list(meta.get('classes') or ())

    def __call__(self, images: Picture | Iterable[Picture]) -> Scores | list[Scores]:
        """Classify an image, or several.

        Args:
            images: A path, an array or a picture of Pillow; or a list, a tuple, a
                generator or an array ``(B, H, W, 3)`` of them. An array has shape
                ``(H, W, 3)`` or ``(H, W)`` and type uint8; its channels are blue, green
                and red, as OpenCV and mmpretrain have them.

        Returns:
            The classes with their probabilities, the most likely first; a list of those
            for several images.

        Raises:
            ValueError: If an image is missing, damaged or of another kind.
        """
        if _is_one(images):
            ((_, scores),) = self.stream([cast(Picture, images)])
            return scores
        several = cast(Iterable[Picture], images)
        return [scores for _, scores in self.stream(several)]

    def stream(
        self,
        images: Iterable[P],
        on_fault: Callable[[P, str], None] | None = None,
    ) -> Iterator[tuple[P, Scores]]:
        """Classify images one batch after another, as many as there are.

        Args:
            images (Iterable): The images, see :meth:`__call__`.
            on_fault (Callable, optional): Called with an image that can't be read, and
                what is wrong with it; the others are classified. By default such an
                image is an error.

        Yields:
            tuple: Each image and its classes with their probabilities.

        Raises:
            ValueError: If an image can't be read and there is no ``on_fault``.
        """
        rest = iter(images)
        while batch := list(islice(rest, self.batch_size)):
            whole, inputs = [], []
            for image in batch:
                pixels, fault = self._load(image)
                if fault is None:
                    whole.append(image)
                    inputs.append(self._prepare(image, pixels))
                elif on_fault is None:
                    raise ValueError(f'the image {_name(image)} {fault}.')
                else:
                    on_fault(image, fault)
            yield from zip(whole, self._scores(inputs), strict=True)

    def _load(self, image: Picture) -> tuple[Any, str | None]:
        """The pixels, blue first, and what is wrong with the image, if something is."""
        if isinstance(image, str | Path):
            try:
                return self._loading.load(os.path.expanduser(image))
            except OSError as error:
                return None, f'cannot be read ({error.strerror})'
        if isinstance(image, Image.Image):
            image = np.asarray(image.convert('RGB'))[..., ::-1].copy()
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            kind = getattr(image, 'dtype', type(image).__name__)
            return None, f'must be a path or an array of type uint8, got {kind}'
        if image.ndim == 2:
            image = np.stack([image] * 3, axis=-1)
        if image.ndim != 3 or image.shape[2] != 3 or not image.size:
            return None, f'must have the shape (H, W, 3), got {image.shape}'
        return image, None

    def _prepare(self, image: Picture, pixels: np.ndarray) -> dict:
        """What the test pipeline makes of an image."""
        results = dict(img=pixels, img_shape=pixels.shape[:2], ori_shape=pixels.shape[:2])
        if isinstance(image, str | Path):
            results['img_path'] = str(image)
        return self._pipeline(results)

    @torch.inference_mode()
    def _scores(self, inputs: list[dict]) -> list[Scores]:
        if not inputs:
            return []
        if len({x['inputs'].shape for x in inputs}) > 1:
            return [scores for x in inputs for scores in self._scores([x])]
        return [
            self._ranked(sample.pred_score)
            for sample in cast(BaseClassifier, self._model).test_step(
                default_collate(inputs)
            )
        ]

    def _ranked(self, probabilities: torch.Tensor) -> Scores:
        values, labels = probabilities.cpu().topk(min(self.topk, len(probabilities)))
        names = self.classes or range(len(probabilities))
        return [
            (str(names[label]), value)
            for label, value in zip(labels.tolist(), values.tolist(), strict=True)
        ]


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(f'device={device!r} can not be used: {reason}') from error
    return chosen


def _folded(model: nn.Module) -> nn.Module:
    """The model with its adapters folded in, or as it is if its method can't merge."""
    try:
        return merge_model(model)
    except ValueError:
        return model


def _test_pipeline(config: Config) -> tuple[LoadImageFromFile, Compose]:
    """How the run's tests load images, and what they do with them then."""
    loader = config.get('test_dataloader') or config.get('val_dataloader')
    if not loader:
        raise ValueError(
            'the config must have a test_dataloader or val_dataloader, whose pipeline '
            'prepares the images, got none.'
        )
    dataset, *_ = innermost_datasets(loader['dataset']).values()
    with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmdmlora')):
        steps = Compose(dataset.get('pipeline')).transforms
    loading = LoadImageFromFile()
    if steps and isinstance(steps[0], MMCVLoadImageFromFile):
        first = steps.pop(0)
        loading = LoadImageFromFile(
            color_type=first.color_type, imdecode_backend=first.imdecode_backend
        )
    return loading, Compose(steps)


def _is_one(images: object) -> bool:
    """Whether this is one image, not several."""
    if isinstance(images, np.ndarray):
        return images.ndim < 4
    return isinstance(images, str | Path | Image.Image)


def _name(image: Picture) -> str:
    return repr(str(image)) if isinstance(image, str | Path) else type(image).__name__

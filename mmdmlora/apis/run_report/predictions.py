"""What the last checkpoint of a run predicts, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed
from PIL import Image
from torch.utils.data import DataLoader

from mmdmlora.apis.browse import is_bgr, tile
from mmdmlora.apis.checks import check_files
from mmdmlora.engine.launch import drop_invalid_worker_options
from mmdmlora.engine.state_check import check_fits
from mmdmlora.io import expand_home, install_safe_loaders, load_checkpoint
from mmdmlora.models.methods.dmlora_model import DMLoRAModel
from mmdmlora.models.peft_model import find_wrappers
from mmdmlora.quiet_log import quiet_log
from mmdmlora.registry import MODELS

from .run_log import RunLog

MOST_MISTAKES = 24
SPLITS = dict(val='validation', test='test')


@dataclass
class Mistake:
    """A misclassified image, as the model sees it, and the score of the wrong class."""

    picture: Image.Image
    label: str
    predicted: str
    score: float


@dataclass
class Predictions:
    """Predictions on one split.

    Args:
        split (str): ``validation`` or ``test``.
        classes (list[str]): The names of the classes.
        confusion (np.ndarray): Counts, ``(classes, classes)``: rows are the labels,
            columns the predictions.
        mistakes (list[Mistake]): The most confident ones first.
        active (dict[str, np.ndarray]): Which branches of each layer are active, by kind
            (``down``, ``up``): ``(layers, branches)``. Empty without branches.
    """

    split: str
    classes: list[str]
    confusion: np.ndarray
    mistakes: list[Mistake]
    active: dict[str, np.ndarray]

    @property
    def accuracy(self) -> float:
        """Share of right predictions (%)."""
        return 100 * float(np.trace(self.confusion)) / max(int(self.confusion.sum()), 1)


def predict(run: RunLog, split: str | None = None) -> Predictions:
    """Predict a split with a run's settings and its last checkpoint.

    Args:
        run: The run.
        split: ``val`` or ``test``; by default ``val`` if the run has one.

    Raises:
        ValueError: If there is no checkpoint or no such split, the data is missing, or
            the task is no classification.
    """
    if run.checkpoint is None:
        raise ValueError('no checkpoint is left in the working directory')
    config = Config(run.config.to_dict())
    expand_home(config._cfg_dict)
    splits = [s for s in SPLITS if config.get(f'{s}_dataloader')]
    if split is None and not splits:
        raise ValueError('the config has neither a val_dataloader nor a test_dataloader')
    split = split or splits[0]
    if split not in splits:
        raise ValueError(f'the config has no {split}_dataloader')
    loader_config = config[f'{split}_dataloader']
    with quiet_log():
        install_safe_loaders()
        init_default_scope(config.get('default_scope', 'mmdmlora'))
        check_files(Config({k: config[k] for k in ('model', f'{split}_dataloader')}))
        drop_invalid_worker_options(config)
        model = _trained_model(config, str(run.checkpoint))
        loader = Runner.build_dataloader(loader_config)
    return _predictions(model, loader, SPLITS[split], is_bgr(config))


def _trained_model(config: Config, checkpoint: str) -> torch.nn.Module:
    settings = config.model.to_dict()
    if config.get('data_preprocessor') is not None:
        settings.setdefault('data_preprocessor', config.data_preprocessor.to_dict())
    # A backbone without a checkpoint is random: the Runner's seed makes it the same.
    set_random_seed(config.get('randomness', {}).get('seed'))
    model = MODELS.build(settings)
    state = load_checkpoint(checkpoint)['state_dict']
    check_fits(model, state, repr(checkpoint))
    model.load_state_dict(state)
    return model.to('cuda' if torch.cuda.is_available() else 'cpu').eval()


@torch.no_grad()
def _predictions(model: Any, loader: DataLoader, split: str, bgr: bool) -> Predictions:
    classes: list[str] = [str(c) for c in _metainfo(loader).get('classes') or ()]
    labels: list[int] = []
    predicted: list[int] = []
    mistakes: list[tuple[float, int, int, np.ndarray]] = []
    for batch in loader:
        for inputs, sample in zip(batch['inputs'], model.test_step(batch), strict=True):
            if 'pred_label' not in sample or sample.gt_label.numel() != 1:
                raise ValueError(
                    'only single-label classification has a confusion matrix'
                )
            label, guess = int(sample.gt_label), int(sample.pred_label)
            labels.append(label)
            predicted.append(guess)
            if label != guess:
                score = float(sample.pred_score[guess])
                mistakes.append((score, label, guess, inputs.numpy()))
        mistakes = sorted(mistakes, key=lambda m: -m[0])[:MOST_MISTAKES]
    size = max([len(classes) - 1, *labels, *predicted]) + 1
    classes += [str(index) for index in range(len(classes), size)]
    confusion = np.zeros((size, size), int)
    np.add.at(confusion, (labels, predicted), 1)
    return Predictions(
        split,
        classes,
        confusion,
        [
            Mistake(tile(pixels, bgr), classes[label], classes[guess], score)
            for score, label, guess, pixels in mistakes
        ],
        _active_branches(model),
    )


def _active_branches(model: torch.nn.Module) -> dict[str, np.ndarray]:
    for wrapper in find_wrappers(model):
        if isinstance(wrapper, DMLoRAModel):
            return {
                kind: getattr(wrapper.draws, f'{kind}_active').cpu().numpy()
                for kind in ('down', 'up')
            }
    return {}


def _metainfo(loader: DataLoader) -> dict:
    return getattr(loader.dataset, 'metainfo', {})

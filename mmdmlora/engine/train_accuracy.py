"""The accuracy on the training images, from the logits of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


class TrainAccuracy:
    """Let the heads of mmpretrain report the accuracy of each training batch.

    Their ``cal_acc`` does so at the cost of one ``topk`` a step, and the losses and
    gradients stay the same. It is switched off for batches with mixed labels, which have
    no accuracy.

    Args:
        model (nn.Module): The model, not wrapped for distributed training.
    """

    def __init__(self, model: nn.Module) -> None:
        preprocessor = getattr(model, 'data_preprocessor', None)
        mixes_labels = getattr(preprocessor, 'batch_augments', None) is not None
        modules = [] if mixes_labels else model.modules()
        self._heads: list[Any] = [m for m in modules if _can_measure(m)]

    @property
    def is_measured(self) -> bool:
        """Whether a head of the model can report it."""
        return bool(self._heads)

    def prepare(self, data_batch: Any) -> None:
        """Measure the batch that comes next, if it has one label an image."""
        is_mapping = isinstance(data_batch, Mapping)
        samples: Any = data_batch.get('data_samples') if is_mapping else None
        is_plain = bool(samples) and 'gt_score' not in samples[0]
        for head in self._heads:
            head.cal_acc = is_plain


def _can_measure(module: nn.Module) -> bool:
    """Whether a module has a ``cal_acc`` that is off and can be switched on."""
    if getattr(module, 'cal_acc', None) is not False:
        return False
    return max(getattr(module, 'topk', (1,))) <= getattr(module, 'num_classes', 0)

"""Comparing the classes of the head with those of the data."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdmlora.registry import HOOKS
from mmdmlora.utils import unwrapped


@HOOKS.register_module()
class NumClassCheckHook(Hook):
    """Refuse a head with another number of classes than the data.

    With too few classes the loss fails on the first image of a missing class, on a GPU by
    an assertion that names neither number. With too many nothing fails. mmdet's hook for
    the same purpose has the same name.

    - When: ``before_train`` (training and validation data), ``before_val`` and
      ``before_test``. A model without ``head.num_classes`` and data without class names
      are passed over.
    - Touches: nothing.
    - State: none.
    - Priority: NORMAL.

    Raises:
        ValueError: Naming both numbers and what to set.
    """

    def before_train(self, runner: Runner) -> None:
        self._check(runner, runner.train_dataloader, 'training')
        if runner.val_loop is not None:
            self._check(runner, runner.val_dataloader, 'validation')

    def before_val(self, runner: Runner) -> None:
        self._check(runner, runner.val_dataloader, 'validation')

    def before_test(self, runner: Runner) -> None:
        self._check(runner, runner.test_dataloader, 'test')

    @staticmethod
    def _check(runner: Runner, loader: DataLoader, kind: str) -> None:
        model = unwrapped(runner.model)
        expected = getattr(getattr(model, 'head', None), 'num_classes', None)
        classes = (getattr(loader.dataset, 'metainfo', None) or {}).get('classes')
        if expected is None or classes is None or len(classes) == expected:
            return
        raise ValueError(
            f'the head has model.head.num_classes={expected}, but the {kind} data '
            f'has {len(classes)} classes. Set model.head.num_classes={len(classes)} '
            '(with --cfg-options, too: num_classes alone does not reach the head), or '
            'name the right data.'
        )

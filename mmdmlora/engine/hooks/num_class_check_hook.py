"""Comparing the classes of the head with those of the data."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdmlora.data_settings import innermost_datasets
from mmdmlora.engine.unwrapped_model import unwrapped
from mmdmlora.registry import HOOKS


@HOOKS.register_module()
class NumClassCheckHook(Hook):
    """Refuse a head with another number of classes than the data.

    With too few classes the loss fails on the first image of a missing class, on a GPU by
    an assertion that names neither number. With too many nothing fails. mmdet's hook for
    the same purpose has the same name. Labels that the data preprocessor makes one-hot
    (``to_onehot``, and always for Mixup, CutMix and other batch augmentations) need
    their length from it, which must be that of the head.

    - When: ``before_train`` (training and validation data), ``before_val`` and
      ``before_test``. A model without ``head.num_classes`` and data without class names
      are passed over. Data sets in wrappers (RepeatDataset, ConcatDataset, ...) are
      looked at one by one.
    - Touches: nothing.
    - State: none.
    - Priority: NORMAL.

    Raises:
        ValueError: Naming both numbers and what to set.
    """

    def before_train(self, runner: Runner) -> None:
        self._check_one_hot(runner)
        self._check(runner, runner.train_dataloader, 'training')
        if runner.val_loop is not None:
            self._check(runner, runner.val_dataloader, 'validation')

    def before_val(self, runner: Runner) -> None:
        self._check_one_hot(runner)
        self._check(runner, runner.val_dataloader, 'validation')

    def before_test(self, runner: Runner) -> None:
        self._check_one_hot(runner)
        self._check(runner, runner.test_dataloader, 'test')

    @staticmethod
    def _check(runner: Runner, loader: DataLoader, kind: str) -> None:
        expected = _num_classes(runner)
        for dataset in innermost_datasets(loader.dataset).values():
            classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
            if expected is None or classes is None or len(classes) == expected:
                continue
            raise ValueError(
                f'the head has model.head.num_classes={expected}, but the {kind} data '
                f'has {len(classes)} classes. Set model.head.num_classes={len(classes)} '
                '(with --cfg-options, too: num_classes alone does not reach the head), '
                'or name the right data.'
            )

    @staticmethod
    def _check_one_hot(runner: Runner) -> None:
        preprocessor = getattr(unwrapped(runner.model), 'data_preprocessor', None)
        expected = _num_classes(runner)
        if expected is None or not getattr(preprocessor, 'to_onehot', False):
            return
        length = getattr(preprocessor, 'num_classes', None)
        if length == expected:
            return
        raise ValueError(
            f'data_preprocessor.num_classes={length}, but the head has '
            f'model.head.num_classes={expected}: Mixup, CutMix and to_onehot=True make '
            f'one-hot labels of that length. Set data_preprocessor.num_classes={expected}'
            ' (model.data_preprocessor.num_classes where the model has its own).'
        )


def _num_classes(runner: Runner) -> int | None:
    """The number of classes of the head, or of the model; None if neither has one."""
    model = unwrapped(runner.model)
    return getattr(getattr(model, 'head', model), 'num_classes', None)

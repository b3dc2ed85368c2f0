"""Refusing to resume from a checkpoint that another run wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmdmlora.engine.state_check import check_fits
from mmdmlora.engine.unwrapped_model import unwrapped
from mmdmlora.registry import HOOKS

LAUNCH = 'launch'


@HOOKS.register_module()
class ResumeCheckHook(Hook):
    """Resume only what can go on exactly as if it had never stopped.

    A run with another number of processes, batch size, accumulation or number of images
    has other batches and another number of steps in an epoch. The schedules, which a
    resumed run takes from the checkpoint, then no longer fit, and mmengine goes on
    without a message. A run by epochs orders the images in another way than one by
    iterations. With another seed the images are shuffled with one seed and all else uses
    the other. A learning rate, or another setting of the optimizer, would be replaced by
    that of the checkpoint without a message.
    A checkpoint of another model, which mmengine loads as far as it goes, is refused too.

    - When: ``before_save_checkpoint`` and, in a run that resumes,
      ``after_load_checkpoint``.
    - Touches: adds ``meta['launch']`` to the checkpoint. Of a checkpoint without this
      entry only the model is checked.
    - State: none.
    - Priority: NORMAL.

    Raises:
        ValueError: On resuming, naming what differs.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['meta'][LAUNCH] = _launch(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume:  # as in mmengine's EMAHook: there is no public name
            return
        model = unwrapped(runner.model)
        check_fits(model, checkpoint['state_dict'], 'the checkpoint to resume from')
        current = _launch(runner)
        saved = checkpoint.get('meta', {}).get(LAUNCH, current)
        names = [n for n in {**current, **saved} if saved.get(n) != current.get(n)]
        if not any('.' in name for name in saved):  # written by an older version
            names = [name for name in names if '.' not in name]
        if names:
            before = ', '.join(f'{name}={saved.get(name)}' for name in names)
            now = ', '.join(f'{name}={current.get(name)}' for name in names)
            raise ValueError(
                f'the checkpoint is of a run with {before}, but this one has {now}. '
                'Resume with the same, or start anew from its weights: load_from=FILE '
                'without --resume.'
            )


def _launch(runner: Runner) -> dict:
    """What decides about the batches of a run and, flat, the optimizer's settings."""
    loader = runner.train_dataloader
    optim_wrapper = runner.cfg.get('optim_wrapper') or {}
    by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
    return dict(
        counts='iterations' if by_iteration else 'epochs',
        processes=get_world_size(),
        batch_size=loader.batch_size,
        images=len(loader.dataset) if hasattr(loader.dataset, '__len__') else None,
        accumulative_counts=optim_wrapper.get('accumulative_counts', 1),
        seed=(runner.cfg.get('randomness') or {}).get('seed'),
        **{
            name: value
            for section in ('optimizer', 'paramwise_cfg')
            for name, value in _flat(optim_wrapper.get(section) or {}, section)
        },
    )


def _flat(settings: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Settings with dots in their names; a dumped config may have lists for tuples."""
    for name, value in settings.items():
        key = f'{prefix}.{name}'
        if isinstance(value, Mapping):
            yield from _flat(value, key)
        else:
            yield key, [*value] if isinstance(value, tuple) else value

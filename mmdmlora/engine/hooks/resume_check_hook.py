"""Refusing to resume from a checkpoint that another run wrote."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.optim import _ParamScheduler
from mmengine.runner import IterBasedTrainLoop, Runner

from mmdmlora.engine.state_check import check_fits
from mmdmlora.engine.unwrapped_model import unwrapped
from mmdmlora.io import from_plain
from mmdmlora.registry import HOOKS

LAUNCH = 'launch'
STATES_OF_SCHEDULES = ('last_step', 'verbose')
ANEW = 'start anew from its weights: load_from=FILE without --resume.'


@HOOKS.register_module()
class ResumeCheckHook(Hook):
    """Resume only what can go on exactly as if it had never stopped.

    A run with another number of processes, batch size, accumulation or number of images
    has other batches and another number of steps in an epoch. The schedules, which a
    resumed run takes from the checkpoint, then no longer fit, and mmengine goes on
    without a message. A run by epochs orders the images in another way than one by
    iterations. With another seed the images are shuffled with one seed and all else uses
    the other. A learning rate, or another setting of the optimizer, would be replaced by
    that of the checkpoint without a message. All of these are refused. Where only the
    settings of the schedules differ, as in a run that is made longer, those of the
    checkpoint stay, and the log warns.

    A checkpoint of another model, which mmengine loads as far as it goes, is refused too.

    - When: ``before_save_checkpoint`` and, in a run that resumes,
      ``after_load_checkpoint``.
    - Touches: adds ``meta['launch']`` to the checkpoint. Of a checkpoint without this
      entry only the model and the schedules are checked.
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
        names = _different(saved, current)
        if not any('.' in name for name in saved):  # written by an older version
            names = [name for name in names if '.' not in name]
        if names:
            raise _refusal(_values(saved, names), _values(current, names))
        _check_schedules(runner, checkpoint.get('param_schedulers') or [])


def _check_schedules(runner: Runner, states: Sequence | Mapping) -> None:
    """Say which settings have no effect; schedules not built yet can't be compared."""
    schedules = _listed(runner.param_schedulers or [])
    if not all(isinstance(schedule, _ParamScheduler) for schedule in schedules):
        return
    states = _listed(from_plain(states))
    if len(schedules) != len(states):
        now = f'{len(schedules)} (param_scheduler)'
        raise _refusal(f'{len(states)} schedules', now)
    saved, current = {}, {}
    for index, (schedule, state) in enumerate(zip(schedules, states, strict=True)):
        for name in _settings(schedule):
            key = f'param_scheduler.{index}.{name}'
            saved[key], current[key] = state.get(name), getattr(schedule, name)
    if names := _different(saved, current):
        runner.logger.warning(
            f'The schedules of the checkpoint stay, with {_values(saved, names)}; those '
            f'of this run, with {_values(current, names)}, have no effect. For these, '
            f'{ANEW}'
        )


def _refusal(before: str, now: str) -> ValueError:
    return ValueError(
        f'the checkpoint is of a run with {before}, but this one has {now}. Resume with '
        f'the same, or {ANEW}'
    )


def _listed(schedules: Any) -> list:
    """One, several, or a dict of several for each of several optimizers."""
    if isinstance(schedules, Mapping):
        return [one for several in schedules.values() for one in several]
    return [*schedules]


def _settings(schedule: _ParamScheduler) -> list[str]:
    """The arguments of its classes that it keeps, without those that change."""
    arguments = {
        name
        for kind in type(schedule).__mro__[:-1]
        for name in inspect.signature(kind).parameters
    }
    kept = arguments.intersection(schedule.state_dict())
    return sorted(kept.difference(STATES_OF_SCHEDULES))


def _different(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    return [n for n in {**current, **saved} if saved.get(n) != current.get(n)]


def _values(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    return ', '.join(f'{name}={settings.get(name)}' for name in names)


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

"""One of the compared runs, in a process of its own: ``python -m ... CONFIG RESULT``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

METRIC = 'accuracy/top1'


@HOOKS.register_module()
class EndToEndClock(Hook):
    """Seconds of the training loop, of the steps in it, and of waiting for data.

    A step is ``train_step``: forward, backward, optimizer. What is outside of steps is
    data, hooks, validations and checkpoints. mmengine's ``data_time`` holds the hooks
    behind its timer, too: here it is the time from the last hook of an iteration to the
    first one of the next, see :class:`WaitBegin`.
    """

    priority = 'HIGHEST'
    result: ClassVar[dict[str, float]] = {}
    wait_begin: ClassVar[float] = 0.0

    def before_train(self, runner: Runner) -> None:
        self._steps = self._waits = 0.0
        runner.model.train_step = self._timed(runner.model.train_step)
        self._start = time.perf_counter()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        self._waits += time.perf_counter() - EndToEndClock.wait_begin

    def after_train(self, runner: Runner) -> None:
        EndToEndClock.result = dict(
            training_seconds=time.perf_counter() - self._start,
            step_seconds=self._steps,
            data_seconds=self._waits,
        )

    def _timed(self, function: Callable) -> Callable:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self._steps += time.perf_counter() - start
            return result

        return run


@HOOKS.register_module()
class WaitBegin(Hook):
    """Notes when the loop begins to wait for a batch."""

    priority = 'LOWEST'

    def before_train_epoch(self, runner: Runner) -> None:
        EndToEndClock.wait_begin = time.perf_counter()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        EndToEndClock.wait_begin = time.perf_counter()


def train_stock(config: Config) -> float:
    """Train and test as mmpretrain's own tools do; the accuracy in per cent."""
    runner = Runner.from_cfg(config)
    runner.train()
    return runner.test()[METRIC]


def train_own(config: Config) -> float:
    """Train and test as ``mmdmlora train`` does; the accuracy in per cent."""
    from mmdmlora.apis.run import train

    return train(config)[f'test {METRIC}']


def main(config_file: str, result_file: str) -> None:
    config = Config.fromfile(config_file)
    config.custom_hooks = [dict(type='EndToEndClock'), dict(type='WaitBegin')]
    is_stock = config.default_scope == 'mmpretrain'
    accuracy = (train_stock if is_stock else train_own)(config)
    result = dict(accuracy=accuracy, **EndToEndClock.result)
    Path(result_file).write_text(json.dumps(result))


if __name__ == '__main__':
    main(*sys.argv[1:])

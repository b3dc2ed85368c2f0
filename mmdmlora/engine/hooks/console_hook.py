"""A run on the console: one line an epoch."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Mapping, Sized

from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmdmlora.engine.console import ConsoleHandler, console_handler, shown_path
from mmdmlora.engine.metrics import plain_value
from mmdmlora.engine.train_accuracy import TrainAccuracy
from mmdmlora.engine.unwrapped_model import unwrapped
from mmdmlora.models.methods.dmlora_model import DMLoRAModel
from mmdmlora.models.peft_model import find_wrappers
from mmdmlora.registry import HOOKS

BEST = 'best (at)'
WIDTHS = {BEST: 12, 'images/s': 8, 'left': 8}
STEP_OF_FILE = re.compile(r'_(\d+)\.pth$')


@HOOKS.register_module()
class ConsoleHook(Hook):
    """Show a run in one line an epoch, with a progress bar within it on a terminal.

    mmengine's log goes to the log file only; warnings and errors reach the console, too.
    A line has the epoch, the mean loss and training accuracy since the line before (of
    the main process), the validation metric that chooses the best checkpoint, the best
    so far and its epoch, the throughput of all processes, the active branches, the
    learning rate and the time left (with validations, as fast as so far). In a loop by
    iterations there is a line every ``interval`` iterations and one for each validation.

    ``default_hooks.console=None``, or ``--log-format mmengine`` on the command line,
    brings mmengine's console back.

    - When: ``before_run`` (takes the console), ``before_train`` (heading),
      ``before_train_epoch``, ``before_train_iter``, ``after_val_epoch`` and
      ``after_train`` (the line that is due), ``after_train_iter`` and
      ``after_train_epoch`` (what it says, progress bar), ``after_val_iter`` and
      ``after_test_iter`` (progress bar), ``after_test_epoch`` (the metrics of a test
      without a training).
    - Touches: replaces the logger's handler for the console
      (:func:`~mmdmlora.engine.console.console_handler`); lets heads of mmpretrain report
      the training accuracy (:class:`~mmdmlora.engine.train_accuracy.TrainAccuracy`).
    - State: none that a checkpoint needs.
    - Priority: LOWEST, after the best checkpoint is known.

    Args:
        interval (int): In a loop by iterations, how many of them a line stands for.
            Defaults to 50.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self._console: ConsoleHandler
        self._accuracy: TrainAccuracy
        self._columns: list[str] = []
        self._row: dict[str, str] = {}
        self._begin = self._last = 0.0
        self._first_iter = 0
        self._seconds, self._steps, self._images = 0.0, 0, 0

    def before_run(self, runner: Runner) -> None:
        self._console = console_handler(runner.logger)

    def before_train(self, runner: Runner) -> None:
        self._accuracy = TrainAccuracy(unwrapped(runner.model))
        self._columns = _columns(runner, self._accuracy.is_measured)
        self._first_iter = runner.iter
        self._begin = self._last = time.monotonic()
        for line in _heading(runner):
            self._console.print(line)
        self._console.print(_line({name: name for name in self._columns}), 'bold')

    def before_train_epoch(self, runner: Runner) -> None:
        self._flush(runner)
        self._last = time.monotonic()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        self._flush(runner)
        self._accuracy.prepare(data_batch)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        now = time.monotonic()
        self._seconds += now - self._last
        self._last = now
        self._steps += 1
        self._images += _batch_size(data_batch, runner)
        if _counts_iterations(runner):
            done = runner.iter + 1
            left = done % self.interval or self.interval
            self._console.show_bar(f'iteration {done}', left, self.interval)
            if left == self.interval or done == runner.max_iters:
                self._row = self._training_cells(runner)
        else:
            total = len(runner.train_dataloader)
            label = f'epoch {runner.epoch + 1}/{runner.max_epochs}'
            self._console.show_bar(label, batch_idx + 1, total)

    def after_train_epoch(self, runner: Runner) -> None:
        if not _counts_iterations(runner):
            self._row = self._training_cells(runner)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: object = None,
    ) -> None:
        total = len(runner.val_dataloader)
        self._console.show_bar('validation', batch_idx + 1, total)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        score = _main_metric(runner, metrics or {})
        if score is not None:
            self._row['val'] = f'{score:.2f}'
        self._flush(runner)
        self._last = time.monotonic()

    def after_train(self, runner: Runner) -> None:
        self._flush(runner)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: object = None,
    ) -> None:
        self._console.show_bar('test', batch_idx + 1, len(runner.test_dataloader))

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        if runner._train_loop is None:  # a training ends with a summary
            self._console.print('Test')
            for name, value in (metrics or {}).items():
                plain = plain_value(value)
                text = f'{plain:.2f}' if isinstance(plain, float) else str(plain)
                self._console.print(f'  {name}  {text}')

    def _training_cells(self, runner: Runner) -> dict[str, str]:
        """What a line says of the steps since the last one, which are counted anew."""
        hub = runner.message_hub
        cells = {}
        for column, key, form in (
            ('loss', 'train/loss', '.4f'),
            ('train acc', 'train/accuracy_top-1', '.2f'),
        ):
            if key in hub.log_scalars:
                cells[column] = f'{hub.get_scalar(key).mean(self._steps):{form}}'
        rate = self._images * get_world_size() / max(self._seconds, 1e-9)
        cells['images/s'] = f'{rate:,.0f}' if rate >= 10 else f'{rate:.1f}'
        self._seconds, self._steps, self._images = 0.0, 0, 0
        for model in _dmlora_models(runner):
            cells['branches'] = f'{model.num_branches}/{model.total_branches}'
        cells['lr'] = f'{hub.get_scalar("train/lr").current():.2e}'
        return cells

    def _flush(self, runner: Runner) -> None:
        """Print the line that is due, if one is."""
        if not self._row or not self._columns:
            return
        done, last = (
            (runner.iter, runner.max_iters)
            if _counts_iterations(runner)
            else (runner.epoch, runner.max_epochs)
        )
        row = {self._columns[0]: f'{done}/{last}', BEST: _best(runner), **self._row}
        self._row = {}
        if steps := runner.iter - self._first_iter:
            seconds = (time.monotonic() - self._begin) / steps
            left = round(seconds * (runner.max_iters - runner.iter))
            row['left'] = str(datetime.timedelta(seconds=left))
        self._console.print(_line({name: row.get(name, '') for name in self._columns}))


def _counts_iterations(runner: Runner) -> bool:
    return isinstance(runner.train_loop, IterBasedTrainLoop)


def _dmlora_models(runner: Runner) -> list[DMLoRAModel]:
    return [m for m in find_wrappers(runner.model) if isinstance(m, DMLoRAModel)]


def _columns(runner: Runner, has_accuracy: bool) -> list[str]:
    """The headings of the lines of a run."""
    has_validation = runner.val_loop is not None
    return [
        'iteration' if _counts_iterations(runner) else 'epoch',
        'loss',
        *(['train acc'] if has_accuracy else []),
        *(['val', BEST] if has_validation else []),
        'images/s',
        *(['branches'] if _dmlora_models(runner) else []),
        'lr',
        'left',
    ]


def _line(cells: Mapping[str, str]) -> str:
    widths = {name: WIDTHS.get(name, max(len(name), 8)) for name in cells}
    texts = [f'{text:>{widths[name]}}' for name, text in cells.items()]
    return '  '.join(texts).rstrip()


def _heading(runner: Runner) -> list[str]:
    """What is trained, on what, and where its log is."""
    lines = [wrapper.summary() for wrapper in find_wrappers(runner.model)]
    data = f'{_count(runner.train_dataloader)} training images'
    if runner.val_loop is not None:
        data += f', {_count(runner.val_dataloader)} for validation'
    device = next(runner.model.parameters()).device
    lines.append(f'{data}; {runner.max_iters:,} steps on {device}')
    return [*lines, f'log: {shown_path(runner.logger.log_file)}', '']


def _count(loader: DataLoader) -> str:
    dataset = loader.dataset
    return f'{len(dataset):,}' if isinstance(dataset, Sized) else 'uncounted'


def _batch_size(data_batch: object, runner: Runner) -> int:
    """The number of images in a batch."""
    inputs = data_batch.get('inputs') if isinstance(data_batch, Mapping) else None
    if isinstance(inputs, Sized):
        return len(inputs)
    return runner.train_dataloader.batch_size or 1


def _main_metric(runner: Runner, metrics: Mapping) -> float | None:
    """The metric that chooses the best checkpoint, or else the first number."""
    plain = {name: plain_value(value) for name, value in metrics.items()}
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            plain = {hook.key_indicators[0]: None} | plain
    numbers = [v for v in plain.values() if isinstance(v, int | float)]
    return numbers[0] if numbers else None


def _best(runner: Runner) -> str:
    """The best score so far and the epoch or iteration in its file's name."""
    score = plain_value(runner.message_hub.get_info('best_score'))
    step = STEP_OF_FILE.search(str(runner.message_hub.get_info('best_ckpt')))
    if not isinstance(score, int | float) or step is None:
        return ''
    return f'{score:.2f} ({step[1]})'

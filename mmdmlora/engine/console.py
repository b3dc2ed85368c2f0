"""The console of a run: a few lines for people, while the log file gets everything."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from .formatted_config import FormattedOnce

WIDTH = 100
BAR_WIDTH = 40
SECONDS_BETWEEN_BARS = 0.1
# Give this to a logger as ``extra``, so that the console shows a message as it is.
ON_CONSOLE = {'on_console': True}
STYLES = {logging.WARNING: 'yellow', logging.ERROR: 'red', logging.CRITICAL: 'red'}


class ConsoleHandler(logging.Handler):
    """Print warnings, errors and messages logged with ``ON_CONSOLE``.

    Warnings that something is deprecated are for developers: they stay in the log file,
    as Python hides ``DeprecationWarning``.

    Args:
        level (int): The lowest level that is printed. Above INFO no progress is shown:
            mmengine sets ERROR in all processes but the main one.

    Note:
        On a terminal the last line may hold a progress bar. Everything that is printed
        through this class takes its place.
    """

    def __init__(self, level: int) -> None:
        super().__init__(level)
        console = Console(highlight=False)
        width = min(console.width, WIDTH) if console.is_terminal else WIDTH
        self.console = Console(highlight=False, width=width)
        self._has_bar = False
        self._last_bar = 0.0

    @property
    def shows_progress(self) -> bool:
        return self.level <= logging.INFO

    def emit(self, record: logging.LogRecord) -> None:
        is_warning = record.levelno >= logging.WARNING
        if not (is_warning or getattr(record, 'on_console', False)):
            return
        message = self.format(record)
        if record.levelno == logging.WARNING and 'deprecated' in message:
            return
        self._clear_bar()
        name = f'{record.levelname.lower()}: ' if is_warning else ''
        text = Text(name + message, style=STYLES.get(record.levelno, ''))
        self.console.print(text, soft_wrap=not is_warning)

    def print(self, text: str, style: str = '') -> None:
        """Print a line where progress is shown."""
        if self.shows_progress:
            self._clear_bar()
            self.console.print(Text(text, style=style), soft_wrap=True)

    def show_bar(self, label: str, done: int, total: int) -> None:
        """Draw a progress bar on a terminal, at most ten times a second."""
        now = time.monotonic()
        is_due = now >= self._last_bar + SECONDS_BETWEEN_BARS
        if not (self.shows_progress and self.console.is_terminal and is_due):
            return
        self._clear_bar()
        filled = BAR_WIDTH * done // max(total, 1)
        mark = '#' if self.console.options.ascii_only else '━'
        text = Text.assemble(
            f'{label} ',
            (mark * filled, 'cyan'),
            (mark * (BAR_WIDTH - filled), 'bright_black'),
            f' {done}/{total}',
        )
        text.truncate(self.console.width - 1)
        self.console.print(text, end='', soft_wrap=True)
        self._has_bar = True
        self._last_bar = now

    def _clear_bar(self) -> None:
        if self._has_bar:
            line = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))
            self.console.control(line)
            self._has_bar = False


def shown_path(path: str | Path) -> str:
    """A path as a person would type it here: relative in the current folder."""
    path = Path(path)
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def console_handler(logger: MMLogger) -> ConsoleHandler:
    """The logger's handler for the console, which takes the place of mmengine's.

    Files that the logger writes stay as they are.
    """
    for place, handler in enumerate(logger.handlers):
        if isinstance(handler, ConsoleHandler):
            return handler
        if type(handler) is logging.StreamHandler:
            replacement = ConsoleHandler(handler.level)
            replacement.filters = handler.filters
            logger.handlers[place] = replacement
            return replacement
    return ConsoleHandler(logging.CRITICAL)


class ConciseRunner(Runner):
    """mmengine's ``Runner``, whose config and environment go to the log file only.

    A :class:`~mmdmlora.engine.ConsoleHook` alone is built after these are printed.
    """

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        console_handler(logger)
        return logger


def build_runner(config: Config) -> Runner:
    """Build the Runner of a config, with a concise console if ``console`` is a hook."""
    is_concise = config.get('default_hooks', {}).get('console') is not None
    runner = ConciseRunner if is_concise else Runner
    return runner.from_cfg(FormattedOnce.of(config))


def use_log_format(config: Config, name: str) -> None:
    """Choose what the console shows, in place.

    Args:
        config: The config of a run.
        name: ``concise`` (one line an epoch) or ``mmengine`` (the whole log).
    """
    config.setdefault('default_hooks', {})
    hooks = config.default_hooks
    hooks.pop('console', None)
    if name == 'concise':
        hooks['console'] = dict(type='mmdmlora.ConsoleHook')

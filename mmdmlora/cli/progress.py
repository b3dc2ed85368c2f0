"""How far a command is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from mmdmlora.experiments.scheduler import Show

# Where there is no terminal: a line for each so many of a hundred.
STEP = 5


@contextmanager
def progress_line(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show how much is done, on a terminal only, until the block ends.

    Args:
        title: What is done.

    Yields:
        Callable: Takes the number of things that are done, and of all.
    """
    console = Console(stderr=True)
    columns = [*Progress.get_default_columns()[:2], MofNCompleteColumn()]
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        # What is printed goes above the line, unless it goes into a file.
        redirect_stdout=sys.stdout.isatty(),
    ) as bar:
        line = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(line, completed=done, total=total)


@contextmanager
def run_progress() -> Iterator[Show]:
    """Show a bar on a terminal, and lines elsewhere, on standard error.

    Yields:
        Callable: See :data:`~mmdmlora.experiments.scheduler.Show`.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _print_line
        return
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn('{task.fields[left]}'),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task('', left='')

        def show(part: str, finished: int, total: int, seconds: float | None) -> None:
            progress.update(
                task,
                description=part,
                completed=finished,
                total=total,
                left=_left(seconds),
            )

        yield show


def _print_line(part: str, finished: int, total: int, seconds: float | None) -> None:
    share = 100 * finished // total
    if finished in (0, total) or share // STEP > 100 * (finished - 1) // total // STEP:
        texts = f'{part}: {finished} of {total}', _left(seconds)
        print(*filter(None, texts), sep=', ', file=sys.stderr, flush=True)


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ''
    minutes = round(seconds / 60)
    return f'about {minutes // 60} h {minutes % 60:02d} min left in this part'

"""How far a command is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

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
def run_progress() -> Iterator[Callable[[str, int, int, float | None], None]]:
    """Show a bar on a terminal, and lines elsewhere, on standard error.

    Yields:
        Callable: To be called with the part of the work, how many of its runs have ended,
        how many there are, and the seconds that it will still take, None at its start.
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
        text = f'{part}: {finished} of {total}'
        text += f', {_left(seconds)}' if seconds is not None else ''
        print(text, file=sys.stderr, flush=True)


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ''
    minutes = round(seconds / 60)
    return f'about {minutes // 60} h {minutes % 60:02d} min left in this part'

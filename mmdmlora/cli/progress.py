"""How far a set of runs is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

# Where there is no terminal: a line for each so many of a hundred.
STEP = 5


@contextmanager
def run_progress() -> Iterator[Callable[[int, int, float | None], None]]:
    """Show a bar on a terminal, and lines elsewhere, on standard error.

    Yields:
        Callable: To be called with (finished, all, seconds left or None).
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _print_line
        return
    columns = (
        TextColumn('runs'),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn('{task.description}'),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task('')

        def show(finished: int, total: int, seconds: float | None) -> None:
            progress.update(
                task, completed=finished, total=total, description=_left(seconds)
            )

        yield show


def _print_line(finished: int, total: int, seconds: float | None) -> None:
    share = 100 * finished // total
    if finished in (0, total) or share // STEP > 100 * (finished - 1) // total // STEP:
        text = f'{finished} of {total} runs {_left(seconds)}'
        print(text.rstrip(), file=sys.stderr, flush=True)


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ''
    minutes = round(seconds / 60)
    return f'about {minutes // 60} h {minutes % 60:02d} min left'

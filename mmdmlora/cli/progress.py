"""A line of progress on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn


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

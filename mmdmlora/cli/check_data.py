"""``mmdmlora check-data``: check the data sets under a folder."""

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from mmdmlora.apis.outputs import check_report
from mmdmlora.datasets.checker import (
    SplitReport,
    as_json,
    as_text,
    check_task,
    find_tasks,
)
from mmdmlora.io import expand_home


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = 'Ends with 1 if something is wrong.'
    parser.add_argument('root', help='a folder with tasks, or the one above it')
    parser.add_argument('--fast', action='store_true', help="don't open the images")
    parser.add_argument('--json', metavar='FILE', help='a .json to write, too')


def run(args: Namespace) -> None:
    if args.json:
        check_report(args.json, '--json')
    reports = _check(args.root, args.fast)
    print(as_text(reports, args.fast))
    report = as_json(reports)
    if args.json:
        Path(expand_home(args.json)).write_text(json.dumps(report, indent=1) + '\n')
    sys.exit(0 if report['ok'] else 1)


def _check(root: str, fast: bool) -> list[SplitReport]:
    """Check all tasks, with a line of progress for each on a terminal."""
    console = Console(stderr=True)
    columns = [*Progress.get_default_columns()[:2], MofNCompleteColumn()]
    reports = []
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        for found in find_tasks(root):
            title = f'{found.layout.benchmark} {found.task.folder}'
            line = bar.add_task(title, total=None)

            def show(done: int, total: int, line=line) -> None:
                bar.update(line, completed=done, total=total)

            reports += check_task(found, fast, show)
            bar.remove_task(line)
    return reports

"""Check the data sets under a folder: python tools/check_data.py ROOT."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from mmdmlora.apis.cli import user_errors
from mmdmlora.datasets.checker import as_json, as_text, check_task, find_tasks


def main() -> None:
    parser = ArgumentParser(
        description='Check lists, counts, classes and images of the data sets under a '
        'folder. Ends with 1 if something is wrong.'
    )
    parser.add_argument('root', help='a folder with tasks, or the one above it')
    parser.add_argument('--fast', action='store_true', help="don't open the images")
    parser.add_argument('--json', metavar='FILE', help='write the report here, too')
    args = parser.parse_args()
    reports = []
    console = Console(stderr=True)
    columns = [*Progress.get_default_columns()[:2], MofNCompleteColumn()]
    with (
        user_errors(),
        Progress(
            *columns,
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as bar,
    ):
        for found in find_tasks(args.root):
            line = bar.add_task(
                f'{found.layout.benchmark} {found.task.folder}', total=None
            )
            reports += check_task(
                found,
                args.fast,
                lambda done, total, line=line: bar.update(
                    line, completed=done, total=total
                ),
            )
            bar.remove_task(line)
    print(as_text(reports, args.fast))
    report = as_json(reports)
    if args.json:
        with user_errors():
            Path(args.json).write_text(json.dumps(report, indent=1) + '\n')
    sys.exit(0 if report['ok'] else 1)


if __name__ == '__main__':
    main()

"""``mmdmlora check-data``: check the data sets under a folder."""

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

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
    reports = []
    for found in find_tasks(root):
        with progress_line(f'{found.layout.benchmark} {found.task.folder}') as show:
            reports += check_task(found, fast, show)
    return reports

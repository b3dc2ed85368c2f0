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
from mmdmlora.datasets.photos import (
    check_photos,
    is_photo_tree,
    may_be_photos,
    photos_as_text,
)
from mmdmlora.io import expand_home

from .progress import progress_line


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = 'Ends with 1 if something is wrong.'
    parser.add_argument(
        'root',
        help='a folder with tasks, or the one above it; or a folder of photos for each '
        'class',
    )
    parser.add_argument('--fast', action='store_true', help="don't open the images")
    parser.add_argument('--json', metavar='FILE', help='a .json to write, too')


def run(args: Namespace) -> None:
    if args.json:
        check_report(args.json, '--json')
    if _holds_photos(args.root):
        with progress_line('Opening the photos') as show:
            photos = check_photos(args.root, args.fast, show)
        text, report = photos_as_text(photos, args.fast), photos.as_json()
    else:
        reports = _check(args.root, args.fast)
        text, report = as_text(reports, args.fast), as_json(reports)
    print(text)
    if args.json:
        Path(expand_home(args.json)).write_text(json.dumps(report, indent=1) + '\n')
    sys.exit(0 if report['ok'] else 1)


def _holds_photos(root: str) -> bool:
    """Whether a folder is to be checked as photos, not as benchmarks."""
    if is_photo_tree(root):
        return True
    try:
        find_tasks(root)
    except ValueError:
        return may_be_photos(root)
    return False


def _check(root: str, fast: bool) -> list[SplitReport]:
    """Check all tasks, with a line of progress for each on a terminal."""
    reports = []
    for found in find_tasks(root):
        with progress_line(f'{found.layout.benchmark} {found.task.folder}') as show:
            reports += check_task(found, fast, show)
    return reports

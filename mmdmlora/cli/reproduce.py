"""``mmdmlora reproduce``: run a table of experiments."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmdmlora.apis.benchmark.steps import default_device
from mmdmlora.apis.locations import config_root
from mmdmlora.apis.reproduce import TABLES, reproduce


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument('table', help=f'one of {list(TABLES)}')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/reproduce'))
    parser.add_argument(
        '--device',
        default=default_device(),
        help='where steps are measured (default: %(default)s)',
    )


def run(args: Namespace) -> None:
    print(f'\n{reproduce(args.table, config_root(), args.work_dir, args.device)}')

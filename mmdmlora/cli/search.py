"""``mmdmlora search``: choose a config's settings on its validation images."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmengine.config import DictAction

from mmdmlora.experiments.choose import choose
from mmdmlora.experiments.search import Search
from mmdmlora.experiments.spaces import find_space, read_space
from mmdmlora.io import expand_home

from .progress import run_progress
from .resource_arguments import (
    add_halving_argument,
    add_resource_arguments,
    resources_of,
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument('config', help='<method>/<backbone>_<task>, or a config file')
    parser.add_argument(
        '--space',
        required=True,
        metavar='FILE',
        help='a file with space = {setting: [values], ...}, or paper: the grid of the '
        "paper's supplement",
    )
    parser.add_argument(
        '--trials', type=int, default=12, help='how many to try (default: %(default)s)'
    )
    add_halving_argument(parser)
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='settings of all trials'
    )
    parser.add_argument(
        '--work-dir', help='where to write (default: work_dirs/search/<config>)'
    )
    add_resource_arguments(parser)


def run(args: Namespace) -> None:
    search = Search(
        args.config,
        read_space(find_space(args.space)),
        args.trials,
        args.cfg_options or {},
        not args.no_halving,
    )
    name = args.config.removesuffix('.py')
    default = Path('work_dirs', 'search', *Path(name).parts[-2:])
    folder = expand_home(Path(args.work_dir)) if args.work_dir else default
    with run_progress() as show:
        print(choose(search, folder, resources_of(args), show))

"""``mmdmlora browse``: draw samples of training sets."""

import copy
from argparse import ArgumentParser, Namespace

from mmdmlora.apis.browse import browse
from mmdmlora.apis.checks import check_output
from mmdmlora.io import expand_home

from .config_arguments import add_config_arguments, read_config


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument('more', nargs='*', help='other configs, to be drawn below')
    parser.add_argument('--out', required=True, help='the picture to write, e.g. a.png')
    parser.add_argument('--columns', type=int, default=10, help='samples in a row')
    parser.add_argument('--rows', type=int, default=3, help='rows for each config')


def run(args: Namespace) -> None:
    out = expand_home(args.out)
    check_output(out, '--out')
    configs = []
    for path in (args.config, *args.more):
        each = copy.copy(args)
        each.config = path
        configs.append(read_config(each))
    browse(configs, args.columns, args.rows).save(out)
    print(f'wrote {out}')

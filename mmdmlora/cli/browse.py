"""``mmdmlora browse``: draw samples of training sets."""

import copy
from argparse import ArgumentParser, Namespace

from mmengine.config import Config

from mmdmlora.apis.browse import browse
from mmdmlora.apis.outputs import check_output, check_outside_data, config_inputs
from mmdmlora.io import expand_home

from .config_arguments import add_config_arguments, read_config

ENDINGS = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff', '.pdf')


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument('more', nargs='*', help='other configs, to be drawn below')
    parser.add_argument('--out', required=True, help='the picture to write, e.g. a.png')
    parser.add_argument('--columns', type=int, default=10, help='samples in a row')
    parser.add_argument('--rows', type=int, default=3, help='rows for each config')


def run(args: Namespace) -> None:
    out = expand_home(args.out)
    configs: list[Config] = []
    for path in (args.config, *args.more):
        each = copy.copy(args)
        each.config = path
        configs.append(read_config(each))
    inputs = [path for config in configs for path in config_inputs(config)]
    check_output(out, '--out', inputs, ENDINGS)
    check_outside_data(out, '--out', configs)
    browse(configs, args.columns, args.rows).save(out)
    print(f'wrote {out}')

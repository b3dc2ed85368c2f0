"""``mmdmlora benchmark``: step time, memory and operations of methods side by side."""

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmengine.registry import init_default_scope

from mmdmlora.apis.benchmark.methods import known_methods
from mmdmlora.apis.benchmark.report import check_plotting, markdown, plot
from mmdmlora.apis.benchmark.run import Settings, benchmark, report
from mmdmlora.apis.locations import config_root
from mmdmlora.apis.outputs import check_output
from mmdmlora.io import expand_home
from mmdmlora.io.atomic import atomic_write


def add_arguments(parser: ArgumentParser) -> None:
    known = ', '.join(known_methods(config_root() / '_base_' / 'methods'))
    parser.add_argument(
        '--backbone', default=Settings.backbone, help='a file of _base_/backbones'
    )
    parser.add_argument(
        '--methods',
        nargs='+',
        default=Settings.methods,
        metavar='NAME[:SETTING=VALUE,...]',
        help='the first is what the others are compared with; a variant changes settings '
        f'of a config, e.g. dmlora:num_branches=16,draws=sample; names: {known}',
    )
    parser.add_argument('--batch', type=int, default=Settings.batch, help='images a step')
    parser.add_argument(
        '--steps', type=int, default=Settings.steps, help='measured steps of each method'
    )
    parser.add_argument(
        '--device',
        default=Settings.device,
        help='where steps are measured (default: %(default)s)',
    )
    parser.add_argument(
        '--dtype', default=Settings.dtype, choices=['float32', 'bfloat16']
    )
    parser.add_argument(
        '--compile', action='store_true', help='time steps with torch.compile'
    )
    parser.add_argument('--json', metavar='FILE', help='write all numbers there')
    parser.add_argument('--plot', metavar='FILE', help='draw the step times there')


def run(args: Namespace) -> None:
    init_default_scope('mmdmlora')
    settings = Settings(
        args.backbone,
        tuple(args.methods),
        args.batch,
        args.steps,
        args.device,
        args.dtype,
        args.compile,
    )
    if args.json:
        check_output(expand_home(args.json), '--json', endings=['.json'])
    if args.plot:
        check_output(expand_home(args.plot), '--plot', endings=['.png', '.pdf', '.svg'])
        check_plotting()

    def show(finished: int) -> None:
        print(f'\r{finished}/{args.steps}', end='', file=sys.stderr, flush=True)

    rows = benchmark(settings, show)
    print(file=sys.stderr)
    print(f'{settings}\n\n{markdown(rows, args.methods[0])}')
    if args.json:
        text = json.dumps(report(settings, rows), indent=2)
        with atomic_write(expand_home(args.json)) as file:
            file.write(text.encode())
    if args.plot:
        plot(rows, str(settings), Path(expand_home(args.plot)))

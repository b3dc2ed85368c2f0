"""``mmdmlora benchmark``: step time, memory and operations of methods side by side."""

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmengine.registry import init_default_scope

from mmdmlora.apis.benchmark.end_to_end import run as end_to_end
from mmdmlora.apis.benchmark.end_to_end.run import EndToEnd
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
        '--backbone',
        help='a file of _base_/backbones; without --end-to-end also the path of another '
        f'file (default: {Settings.backbone}, with --end-to-end {EndToEnd.backbone})',
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
        '--steps',
        type=int,
        default=Settings.steps,
        help='measured steps of each method, and evaluations',
    )
    parser.add_argument(
        '--device',
        default=Settings.device,
        help='where steps are measured (default: %(default)s)',
    )
    parser.add_argument(
        '--dtype',
        choices=['float32', 'bfloat16'],
        help=f'default: {Settings.dtype}, with --end-to-end {EndToEnd.dtype}',
    )
    parser.add_argument(
        '--compile', action='store_true', help='time steps with torch.compile'
    )
    parser.add_argument('--json', metavar='FILE', help='write all numbers there')
    parser.add_argument('--plot', metavar='FILE', help='draw the step times there')
    whole = parser.add_argument_group(
        'whole trainings', 'against stock mmpretrain, from JPEG files to a tested model'
    )
    whole.add_argument(
        '--end-to-end', metavar='DIR', help='compare these, in this folder; runs are kept'
    )
    whole.add_argument(
        '--weights', metavar='FILE', help='the checkpoint of the backbone, if not its own'
    )
    for name, meaning in (
        ('epochs', 'epochs of each run'),
        ('images', 'training images'),
        ('seeds', 'runs of the stock pipeline and of each method'),
    ):
        default = getattr(EndToEnd, name)
        whole.add_argument(
            f'--{name}', type=int, default=default, help=f'{meaning} ({default})'
        )
    whole.add_argument(
        '--no-parts',
        action='store_true',
        help='leave out the runs that show what each part contributes',
    )


def run(args: Namespace) -> None:
    init_default_scope('mmdmlora')
    if args.json:
        check_output(expand_home(args.json), '--json', endings=['.json'])
    if args.end_to_end:
        _run_end_to_end(args)
    else:
        _run_steps(args)


def _run_steps(args: Namespace) -> None:
    settings = Settings(
        args.backbone or Settings.backbone,
        tuple(args.methods),
        args.batch,
        args.steps,
        args.device,
        args.dtype or Settings.dtype,
        args.compile,
    )
    if args.plot:
        check_output(expand_home(args.plot), '--plot', endings=['.png', '.pdf', '.svg'])
        check_plotting()

    def show(finished: int) -> None:
        print(f'\r{finished}/{2 * args.steps}', end='', file=sys.stderr, flush=True)

    rows = benchmark(settings, show)
    print(file=sys.stderr)
    print(f'{settings}\n\n{markdown(rows, args.methods[0])}')
    _write_json(args, report(settings, rows))
    if args.plot:
        plot(rows, str(settings), Path(expand_home(args.plot)))


def _run_end_to_end(args: Namespace) -> None:
    settings = EndToEnd(
        Path(args.end_to_end),
        args.backbone or EndToEnd.backbone,
        args.weights,
        tuple(args.methods),
        args.epochs,
        args.images,
        args.seeds,
        args.dtype or EndToEnd.dtype,
        not args.no_parts,
    )
    rows = end_to_end.end_to_end(settings, lambda text: print(text, file=sys.stderr))
    print(f'{settings}\n\n{end_to_end.markdown(rows)}')
    _write_json(args, end_to_end.report(settings, rows))


def _write_json(args: Namespace, result: dict) -> None:
    if args.json:
        with atomic_write(expand_home(args.json)) as file:
            file.write(json.dumps(result, indent=2).encode())

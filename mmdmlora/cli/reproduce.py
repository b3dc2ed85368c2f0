"""``mmdmlora reproduce``: run the paper's tables and figures, and report them."""

import shlex
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmdmlora.experiments.protocol import PROTOCOLS
from mmdmlora.experiments.reproduce import Request, dry_run, reproduce, state
from mmdmlora.experiments.scheduler import STORE
from mmdmlora.experiments.store import Store
from mmdmlora.experiments.study import EPOCHS
from mmdmlora.experiments.suites import Suite, mini_suite, paper_suite
from mmdmlora.experiments.tables import STUDIES, TABLES, Plan
from mmdmlora.io import expand_home

from .progress import run_progress
from .resource_arguments import (
    add_halving_argument,
    add_resource_arguments,
    resources_of,
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        'tables',
        nargs='+',
        choices=[*TABLES, *STUDIES, 'all'],
        help='tables and figures; all: those of the paper; study: when DMLoRA beats LoRA',
    )
    parser.add_argument(
        '--suite',
        choices=['paper', 'mini'],
        default='paper',
        help='paper: VTAB-1k, FGVC and few-shot FGVC, whose data and backbones must be '
        'there; mini: digits and drawn tasks, no download (default: %(default)s)',
    )
    parser.add_argument('--protocol', choices=PROTOCOLS, default='val')
    parser.add_argument(
        '--trials',
        type=int,
        help='search runs of each method and task (12; mini: 6; protocol paper: 0)',
    )
    add_halving_argument(parser)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--tasks', nargs='+', help='only these tasks')
    parser.add_argument('--methods', nargs='+', help='only these rows, such as LoRA')
    parser.add_argument(
        '--backbone', default='vit-tiny', help='of the suite mini (default: %(default)s)'
    )
    parser.add_argument(
        '--weights', metavar='FILE', help='its checkpoint, if it needs one'
    )
    parser.add_argument('--epochs', type=int, help='epochs of each run, if not the own')
    parser.add_argument('--amp', choices=['bfloat16'], help='train in mixed precision')
    parser.add_argument('--data-root', help='the folder with the data of the suite paper')
    parser.add_argument(
        '--work-dir', help='where to write (default: work_dirs/reproduce/SUITE)'
    )
    parser.add_argument(
        '--add-results',
        nargs='+',
        default=[],
        metavar='FILE',
        help='results.sqlite of other folders or machines: their runs are not repeated',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='only print the runs that are needed'
    )
    parser.add_argument(
        '--list', action='store_true', help='only print what each table needs and has'
    )
    add_resource_arguments(parser)


def run(args: Namespace) -> None:
    default = Path('work_dirs', 'reproduce', args.suite)
    request = Request(
        tuple(args.tables),
        _plan(args),
        args.protocol,
        expand_home(Path(args.work_dir)) if args.work_dir else default,
    )
    for file in args.add_results:
        number = Store(request.folder / STORE).add_from(Path(expand_home(file)))
        print(f'{file}: {number} results taken')
    if args.dry_run or args.list:
        print((dry_run if args.dry_run else state)(request))
        return
    command = shlex.join(['mmdmlora', *sys.argv[1:]])
    with run_progress() as show:
        report, failures = reproduce(request, resources_of(args), command, show)
    print(report.with_suffix('.md').read_text())
    print(f'Report: {report}')
    if failures:
        raise ValueError('\n  '.join(['some runs have failed.', *failures]))


def _plan(args: Namespace) -> Plan:
    trials = args.trials
    if trials is None:
        trials = 0 if args.protocol == 'paper' else 6 if args.suite == 'mini' else 12
    return Plan(
        _suite(args),
        trials,
        tuple(args.seeds),
        tuple(args.tasks) if args.tasks else None,
        tuple(args.methods) if args.methods else None,
        not args.no_halving,
    )


def _suite(args: Namespace) -> Suite:
    settings = {}
    if args.epochs:
        settings[EPOCHS] = args.epochs
    if args.amp:
        settings['optim_wrapper.type'] = 'mmdmlora.BFloat16OptimWrapper'
    if args.suite == 'mini':
        if args.weights:
            checkpoint = str(Path(expand_home(args.weights)).resolve())
            settings['model.backbone.module.init_cfg.checkpoint'] = checkpoint
        return mini_suite(args.backbone, settings)
    if args.weights:
        raise ValueError(
            '--weights is for the suite mini: the suite paper has several backbones. '
            'Their files are named in configs/_base_/backbones.'
        )
    root = expand_home(Path(args.data_root)) if args.data_root else None
    return paper_suite(settings, root)

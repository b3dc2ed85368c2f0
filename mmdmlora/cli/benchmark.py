"""``mmdmlora benchmark``: step time and memory of methods side by side."""

import sys
from argparse import ArgumentParser, Namespace

import torch
from mmengine.registry import init_default_scope

from mmdmlora.apis.benchmark import (
    METHODS,
    build_trainees,
    default_device,
    measure_side_by_side,
    table,
)
from mmdmlora.apis.compose import find_part, load_config
from mmdmlora.apis.locations import config_root


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--backbone', default='vit-b16', help='a file of _base_/backbones'
    )
    parser.add_argument(
        '--methods',
        nargs='+',
        default=['lora', 'dmlora'],
        help=f'the first is the baseline; of {list(METHODS)}',
    )
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--steps', type=int, default=20)
    parser.add_argument(
        '--device',
        default=default_device(),
        help='where steps are measured (default: %(default)s)',
    )
    parser.add_argument('--dtype', default='float32', choices=['float32', 'bfloat16'])


def run(args: Namespace) -> None:
    init_default_scope('mmdmlora')
    base = config_root() / '_base_'
    backbone = find_part(base, 'backbone', dict(backbone=args.backbone))
    dtype = getattr(torch, args.dtype)
    trainees = build_trainees(
        load_config(backbone), args.methods, args.batch, args.device, dtype
    )

    def show(step: int) -> None:
        print(f'\r{step}/{args.steps}', end='', file=sys.stderr)

    timings = measure_side_by_side(trainees, args.steps, progress=show)
    print(file=sys.stderr)
    print(
        f'{args.backbone}, batch {args.batch}, {args.dtype}, {args.device}, '
        f'{args.steps} steps each, interleaved, torch {torch.__version__}\n'
    )
    print(table(timings))

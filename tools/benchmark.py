"""Step time and memory of methods side by side: python tools/benchmark.py."""

import argparse
import sys
from pathlib import Path

import torch
from mmengine.registry import init_default_scope

from mmdmlora.apis.benchmark import (
    METHODS,
    build_trainees,
    measure_side_by_side,
    table,
)
from mmdmlora.apis.cli import user_errors
from mmdmlora.apis.compose import load_config

BACKBONES = Path(__file__).parents[1] / 'configs' / '_base_' / 'backbones'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
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
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument('--dtype', default='float32', choices=['float32', 'bfloat16'])
    args = parser.parse_args()
    with user_errors():
        init_default_scope('mmdmlora')
        config = load_config(BACKBONES / f'{args.backbone}.py')
        dtype = getattr(torch, args.dtype)
        trainees = build_trainees(config, args.methods, args.batch, args.device, dtype)
        timings = measure_side_by_side(
            trainees,
            args.steps,
            progress=lambda step: print(
                f'\r{step}/{args.steps}', end='', file=sys.stderr
            ),
        )
    print(file=sys.stderr)
    print(
        f'{args.backbone}, batch {args.batch}, {args.dtype}, {args.device}, '
        f'{args.steps} steps each, interleaved, torch {torch.__version__}\n'
    )
    print(table(timings))


if __name__ == '__main__':
    main()

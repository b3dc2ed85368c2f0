"""``mmdmlora train``: train a model, test it at the end and merge it."""

import shlex
from argparse import ArgumentParser, Namespace

from mmdmlora.apis.run import train
from mmdmlora.engine.launch import use_amp
from mmdmlora.engine.tf32 import use_tf32

from .config_arguments import add_config_arguments, add_log_format, read_config
from .photo_arguments import (
    add_photo_arguments,
    check_photo_arguments,
    config_from_photos,
)


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser, nargs='?')
    add_photo_arguments(parser)
    add_log_format(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from this checkpoint, by default the last in the working directory',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='default',
        choices=['float16', 'bfloat16'],
        help='train in mixed precision; without a value float16 on a GPU and bfloat16 on '
        'a CPU',
    )
    parser.add_argument(
        '--tf32',
        action='store_true',
        help='multiply single-precision matrices in TF32 on a GPU that has it',
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='compile the training forwards of the backbone',
    )


def run(args: Namespace) -> None:
    check_photo_arguments(args)
    if args.data:
        config_from_photos(args)
    if args.config_only:
        return
    config = read_config(args)
    if args.resume:
        config.resume = True
        config.load_from = None if args.resume == 'auto' else args.resume
    if args.amp:
        use_amp(config, None if args.amp == 'default' else args.amp)
    if args.tf32:
        use_tf32(config)
    if args.compile and not config.get('compile'):
        config.compile = True
    train(config)
    if args.data:
        print(f'Use the model: mmdmlora predict {shlex.quote(config.work_dir)} IMAGES')

"""What the command lines share."""

from __future__ import annotations

import os
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config, DictAction

from .compose import LOADERS, load_config

# mmengine puts the chain of classes that it was building before an error's text.
BUILD_CHAIN = re.compile(r'^(class `\w+` in \S+: )+')


@contextmanager
def user_errors() -> Iterator[None]:
    """End with a message where the input is at fault; with MMDMLORA_TRACEBACK, raise."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        if os.environ.get('MMDMLORA_TRACEBACK'):
            raise
        message = BUILD_CHAIN.sub('', str(error))
        sys.exit(f'error: {message}\n(MMDMLORA_TRACEBACK=1 shows the traceback.)')


def config_parser(description: str) -> ArgumentParser:
    """A parser with what every tool that reads a config takes."""
    parser = ArgumentParser(description=description)
    parser.add_argument(
        'config', help='a config file, or <configs>/<method>/<backbone>_<task>.py'
    )
    parser.add_argument(
        '--work-dir', help='where to write; by default work_dirs/<name of the config>'
    )
    parser.add_argument('--data-root', help='the folder with the data, for all splits')
    parser.add_argument('--weights', help="the backbone's checkpoint, a file or URL")
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none'
    )
    # torchrun and older launchers set this; the environment has it too.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser


def read_config(args: Namespace) -> Config:
    """The config that the arguments ask for, with its working directory."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = load_config(args.config)
    config.launcher = args.launcher
    if args.work_dir:
        config.work_dir = args.work_dir
    elif config.get('work_dir') is None:
        path = Path(args.config)
        config.work_dir = str(Path('work_dirs') / path.parent.name / path.stem)
    if args.data_root:
        for name in LOADERS:
            if config.get(name):
                config[name].dataset.data_root = args.data_root
    if args.weights:
        config.model.backbone.module.init_cfg = dict(
            type='Pretrained', checkpoint=args.weights
        )
    if args.cfg_options:
        config.merge_from_dict(args.cfg_options)
    return config

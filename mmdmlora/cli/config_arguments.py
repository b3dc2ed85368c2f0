"""The arguments of every command that reads a config, and the config they ask for."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmengine.config import Config, DictAction

from mmdmlora.apis.checks import pretrained_backbone
from mmdmlora.apis.compose import load_config
from mmdmlora.apis.locations import find_config
from mmdmlora.apis.option_check import check_options
from mmdmlora.data_settings import dataset_settings
from mmdmlora.engine.console import use_log_format


def add_config_arguments(parser: ArgumentParser, nargs: str | None = None) -> None:
    """Add what every command that reads a config takes.

    Args:
        parser: The command's parser.
        nargs: '?' where the command can do without a config.
    """
    parser.add_argument(
        'config',
        nargs=nargs,
        help='a config file, or the name of a shipped one: <method>/<backbone>_<task>',
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


def add_log_format(parser: ArgumentParser) -> None:
    """Add what commands that run a Runner take."""
    parser.add_argument(
        '--log-format',
        choices=['concise', 'mmengine'],
        help="what the console shows: a line an epoch, or mmengine's whole log; by "
        'default what the config says',
    )


def read_config(args: Namespace) -> Config:
    """The config that the arguments ask for, with its working directory."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    path = find_config(args.config)
    config = load_config(path)
    config.launcher = args.launcher
    if args.work_dir:
        config.work_dir = args.work_dir
    elif config.get('work_dir') is None:
        folders = path.parts[-3:-1] if path.parent.name == 'timm' else path.parts[-2:-1]
        config.work_dir = str(Path('work_dirs', *folders, path.stem))
    if args.data_root:
        for dataset in dataset_settings(config).values():
            dataset['data_root'] = args.data_root
    if args.weights:
        backbone = pretrained_backbone(config)
        if not backbone:
            raise ValueError(
                f'--weights {args.weights}: {path} has no model.backbone to load them '
                'into. Leave it out.'
            )
        backbone['init_cfg'] = dict(type='Pretrained', checkpoint=args.weights)
    if args.cfg_options:
        check_options(config, args.cfg_options)
        config.merge_from_dict(args.cfg_options)
    if getattr(args, 'log_format', None):
        use_log_format(config, args.log_format)
    return config

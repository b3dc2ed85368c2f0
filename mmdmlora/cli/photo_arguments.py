"""The arguments of ``mmdmlora train --data FOLDER``, and the config they make."""

from __future__ import annotations

import shlex
import sys
from argparse import ArgumentParser, Namespace

from mmdmlora.apis.own_photos import prepare_photos
from mmdmlora.apis.photo_config import PhotoSettings

from .progress import progress_line

OPTIONS = ('backbone', 'method', 'size', 'epochs', 'split_seed')


def add_photo_arguments(parser: ArgumentParser) -> None:
    """Add what a training on a folder of photos takes."""
    group = parser.add_argument_group(
        'photos of your own', 'in place of a config; it is written into the run'
    )
    group.add_argument(
        '--data',
        metavar='FOLDER',
        help='a folder of photos for each class, or train/, val/ and test/ with them',
    )
    group.add_argument(
        '--backbone',
        help='a backbone of the package or timm/<name>; by default vit-tiny, which needs '
        'no download; dinov2-s14 is stronger',
    )
    group.add_argument('--method', help='by default dmlora')
    group.add_argument(
        '--size', type=int, help="pixels of an image's side; by default the backbone's"
    )
    group.add_argument('--epochs', type=int, help='by default 60')
    group.add_argument('--split-seed', type=int, help='of the split; by default 0')
    group.add_argument(
        '--skip-corrupt',
        action='store_true',
        help='leave out images that can not be read',
    )
    group.add_argument(
        '--config-only',
        action='store_true',
        help="write the config and the lists, don't train",
    )


def check_photo_arguments(args: Namespace) -> None:
    """Refuse arguments that don't go together.

    Raises:
        ValueError: Naming them and the remedy.
    """
    if args.data is None:
        chosen = [name for name in OPTIONS if getattr(args, name) is not None]
        chosen += [n for n in ('skip_corrupt', 'config_only') if getattr(args, n)]
        if chosen:
            names = ', '.join(f'--{name.replace("_", "-")}' for name in chosen)
            raise ValueError(
                f'{names} must stand beside --data FOLDER: a config has its own settings.'
            )
        if args.config is None:
            raise ValueError('name a config, or a folder of photos: --data FOLDER.')
        return
    if args.config is not None:
        raise ValueError(
            f'name either a config, got {args.config!r}, or --data {args.data}.'
        )
    if args.data_root:
        raise ValueError(
            f'--data-root belongs to a config: leave it out, or {args.data}.'
        )
    if args.resume:
        raise ValueError(
            '--resume needs the config of the run that was stopped: mmdmlora train '
            'RUN/<name>.py --resume.'
        )
    if args.launcher != 'none':
        raise ValueError(
            f'--launcher {args.launcher} needs a config: write it with --config-only, '
            'then train it with the launcher.'
        )


def config_from_photos(args: Namespace) -> None:
    """Write the config that the arguments ask for, and let them name it.

    Raises:
        ValueError: See :func:`~mmdmlora.apis.own_photos.prepare_photos`.
    """
    chosen = {name: getattr(args, name) for name in OPTIONS[:-1]}
    settings = PhotoSettings(
        weights=args.weights, **{k: v for k, v in chosen.items() if v is not None}
    )
    with progress_line('Checking the photos') as show:
        file, folder = prepare_photos(
            args.data,
            settings,
            args.work_dir,
            args.split_seed or 0,
            args.skip_corrupt,
            show,
        )
    print(f'Wrote {file} and the lists of the split beside it.', file=sys.stderr)
    print(
        f'Train it again with: mmdmlora train {shlex.quote(str(file))}', file=sys.stderr
    )
    args.config, args.work_dir, args.weights = str(file), str(folder), None

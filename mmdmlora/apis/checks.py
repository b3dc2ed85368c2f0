"""What can be seen to be wrong before anything is built: settings, files, folders."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from mmdmlora.data_settings import dataset_settings
from mmdmlora.datasets.image_cache import BUDGET_GIB, CachedDataset, check_cache
from mmdmlora.engine.unwrapped_model import unwrapped
from mmdmlora.io import load_checkpoint
from mmdmlora.registry import DATASETS


def check_writable(folder: str | Path, remedy: str) -> None:
    """Refuse a folder in which no file can be made; nothing is left there.

    Args:
        folder (str | Path): It need not exist: then the nearest one above counts.
        remedy (str): What to do instead.

    Raises:
        ValueError: Naming the folder and the reason.
    """
    existing = Path(folder).absolute()
    try:
        while not existing.exists():
            existing = existing.parent
        if not existing.is_dir():
            raise ValueError(f'{str(existing)!r} is a file, no folder. {remedy}')
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ValueError(
            f'{str(folder)!r} can not be written ({error.strerror}). {remedy}'
        ) from error


def pretrained_backbone(config: Config) -> dict:
    """The settings of the backbone itself, without wrappers; empty if there is none."""
    model = config.get('model') or {}
    backbone = model if 'model_name' in model else model.get('backbone') or {}
    while isinstance(backbone.get('module'), dict):
        backbone = backbone['module']
    return backbone


def check_files(config: Config) -> None:
    """Look for the backbone's checkpoint, the data and ``load_from``.

    Raises:
        ValueError: Naming everything that is missing, and where to get it.
    """
    missing = []
    init_cfg = pretrained_backbone(config).get('init_cfg')
    weights = init_cfg.get('checkpoint') if isinstance(init_cfg, dict) else None
    if weights and '://' not in weights and not Path(weights).is_file():
        missing.append(
            f'The backbone checkpoint {weights!r}: put it there or name yours with '
            f'--weights FILE. Source: {config.get("weights_source", "unknown.")}'
        )
    start = config.get('load_from')
    if start and '://' not in start and not Path(start).is_file():
        missing.append(
            f'The checkpoint {start!r} to start from: name one that exists (load_from, '
            '--resume FILE), or leave it out.'
        )
    datasets = dataset_settings(config).values()
    roots = dict.fromkeys(dataset.get('data_root') for dataset in datasets)
    missing += [
        f'The data folder {root!r}: put it there or name yours with --data-root FOLDER. '
        f'Source: {config.get("data_source", "unknown.")}'
        for root in roots
        if root and '://' not in root and not Path(root).is_dir()
    ]
    if missing:
        raise ValueError('\n  '.join(['files are missing.', *missing]))


def check_numbers(config: Config) -> None:
    """Refuse lengths, a learning rate or a seed that can't be one.

    mmengine takes them and fails later, or trains for no epoch.

    Raises:
        ValueError: Naming the setting, its value and what it has to be.
    """
    for path in (
        'train_cfg.max_epochs',
        'train_cfg.max_iters',
        'train_cfg.val_interval',
        'optim_wrapper.accumulative_counts',
    ):
        value = _value(config, path)
        if value is not None and not (type(value) is int and value > 0):
            raise ValueError(f'{path}={value} is no whole number above 0: give one.')
    rate = _value(config, 'optim_wrapper.optimizer.lr')
    if rate is not None and not (isinstance(rate, int | float) and rate > 0):
        raise ValueError(
            f'optim_wrapper.optimizer.lr={rate} is no number above 0: give one, such as '
            '1e-3.'
        )
    seed = _value(config, 'randomness.seed')
    if seed is not None and not (type(seed) is int and 0 <= seed < 2**32):
        raise ValueError(
            f'randomness.seed={seed} is no whole number from 0 to {2**32 - 1}: give one.'
        )


def check_caches(config: Config) -> None:
    """Refuse a cache of images that there isn't, or one without room.

    Raises:
        ValueError: Naming the setting, its value and what it must be.
    """
    for place, dataset in dataset_settings(config).items():
        if {'cache', 'cache_gib'}.isdisjoint(dataset):
            continue
        kind = dataset.get('type')
        kind = DATASETS.get(kind) if isinstance(kind, str) else kind
        # The options of others' data sets may have the same names.
        if isinstance(kind, type) and issubclass(kind, CachedDataset):
            check_cache(
                dataset.get('cache'), dataset.get('cache_gib', BUDGET_GIB), f'{place}.'
            )


def _value(config: Config, path: str) -> object:
    node: object = config
    for key in path.split('.'):
        node = node.get(key) if isinstance(node, dict | Config) else None
    return node


def check_schedule(config: Config) -> None:
    """Refuse a run that ends before its learning rate has warmed up, or never changes it.

    Raises:
        ValueError: Naming the schedule and the lengths.
    """
    loop = config.get('train_cfg') or {}
    epochs, iterations = loop.get('max_epochs'), loop.get('max_iters')
    schedulers = config.get('param_scheduler') or []
    for index, scheduler in enumerate(schedulers if isinstance(schedulers, list) else []):
        begin = scheduler.get('begin', 0)
        by_epoch = scheduler.get('by_epoch', True)
        if iterations and by_epoch and not scheduler.get('convert_to_iter_based'):
            raise ValueError(
                f'param_scheduler.{index} ({scheduler.type}) counts epochs, of which a '
                f'run by iterations (train_cfg.max_iters={iterations}) has none: set its '
                'by_epoch=False, and its lengths in iterations.'
            )
        if iterations and not by_epoch and begin >= iterations:
            raise ValueError(
                f'param_scheduler.{index} ({scheduler.type}) begins at iteration '
                f'{begin}, but the run has train_cfg.max_iters={iterations}: give it '
                'more, or shorten the warm-up.'
            )
        if epochs and by_epoch and begin >= epochs:
            raise ValueError(
                f'param_scheduler.{index} ({scheduler.type}) begins at epoch {begin}, '
                f'but the run has train_cfg.max_epochs={epochs}. Give it more epochs, or '
                'shorten the warm-up: --cfg-options param_scheduler.0.end=N '
                'param_scheduler.1.begin=N.'
            )


def check_start(runner: Runner, load_from: str) -> None:
    """Refuse a checkpoint of which nothing would be loaded; mmengine only warns.

    Raises:
        ValueError: Naming a tensor of each side.
    """
    loaded = load_checkpoint(load_from)
    names = [name.removeprefix('module.') for name in loaded.get('state_dict', loaded)]
    model = unwrapped(runner.model)
    known = [*model.state_dict(), *dict(model.named_parameters())]
    if set(names).isdisjoint(known):
        raise ValueError(
            f'load_from={load_from!r} holds nothing of the model: it has {names[:1]}, '
            f'the model {known[:1]}. Weights of a backbone alone belong into its '
            'init_cfg: --weights FILE.'
        )


def check_steps(runner: Runner) -> None:
    """Refuse a training without any step in an epoch.

    Raises:
        ValueError: Naming the batch size and the number of images.
    """
    loader = runner.train_loop.dataloader
    if hasattr(loader, '__len__') and len(loader) == 0:
        images = len(loader.sampler)
        raise ValueError(
            f'train_dataloader.batch_size={loader.batch_size} leaves no step in an '
            f'epoch: each process has {images} images, and drop_last drops what fills no '
            f'batch. Use batch_size<={images}, or train_dataloader.drop_last=False.'
        )

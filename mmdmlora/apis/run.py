"""Training, testing and merging from a config."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader, Runner, set_random_seed

from mmdmlora.engine.export import save_merged
from mmdmlora.engine.launch import (
    check_amp,
    drop_invalid_worker_options,
    prepare_distributed,
)
from mmdmlora.registry import MODELS

from .compose import LOADERS

# Of these alone mmengine accepts None, to switch the hook off.
MMENGINE_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)
REQUIRED_HOOKS = dict(
    epoch_seed='mmdmlora.EpochSeedHook',
    plain_checkpoint='mmdmlora.PlainCheckpointHook',
)


def prepare(config: Config) -> Config:
    """Make a config run on a current PyTorch, in place.

    Adds the hooks that a resumable training needs where a config lacks them, so that
    stock configs can be used too, and adapts the launch to the machine.

    Raises:
        ValueError: If the backbone's checkpoint or the data is missing, mixed
            precision is asked for without a GPU, or the run is shorter than its
            warm-up.
    """
    check_files(config)
    check_schedule(config)
    hooks = config.setdefault('default_hooks', {})
    for name, hook in REQUIRED_HOOKS.items():
        hooks.setdefault(name, dict(type=hook))
    for name in [n for n, hook in hooks.items() if hook is None]:
        if name not in MMENGINE_HOOKS:
            del hooks[name]
    config.setdefault('launcher', 'none')
    drop_invalid_worker_options(config)
    check_amp(config)
    prepare_distributed(config)
    return config


def check_files(config: Config) -> None:
    """Look for the backbone's checkpoint and the data before anything is built.

    Raises:
        ValueError: Naming everything that is missing, and where to get it.
    """
    missing = []
    model = config.get('model') or {}
    backbone = (model.get('backbone') or {}).get('module') or {}
    init_cfg = backbone.get('init_cfg')
    weights = init_cfg.get('checkpoint') if isinstance(init_cfg, dict) else None
    if weights and '://' not in weights and not Path(weights).is_file():
        missing.append(
            f'The backbone checkpoint {weights!r}: put it there or name yours with '
            f'--weights FILE. Source: {config.get("weights_source", "unknown.")}'
        )
    datasets = [(config.get(name) or {}).get('dataset') or {} for name in LOADERS]
    roots = dict.fromkeys(dataset.get('data_root') for dataset in datasets)
    missing += [
        f'The data folder {root!r}: put it there or name yours with --data-root FOLDER. '
        f'Source: {config.get("data_source", "unknown.")}'
        for root in roots
        if root and '://' not in root and not Path(root).is_dir()
    ]
    if missing:
        raise ValueError('\n  '.join(['files are missing.', *missing]))


def check_schedule(config: Config) -> None:
    """Refuse a run that ends before its learning rate has warmed up.

    Raises:
        ValueError: Naming the schedule and the lengths.
    """
    epochs = (config.get('train_cfg') or {}).get('max_epochs')
    schedulers = config.get('param_scheduler') or []
    for index, scheduler in enumerate(schedulers if isinstance(schedulers, list) else []):
        begin = scheduler.get('begin', 0)
        if epochs and scheduler.get('by_epoch', True) and begin >= epochs:
            raise ValueError(
                f'param_scheduler.{index} ({scheduler.type}) begins at epoch {begin}, '
                f'but the run has train_cfg.max_epochs={epochs}. Give it more epochs, or '
                'shorten the warm-up: --cfg-options param_scheduler.0.end=N '
                'param_scheduler.1.begin=N.'
            )


def train(config: Config) -> None:
    """Train as a config says; the summary hook tests and merges at the end."""
    prepare(config)
    Runner.from_cfg(config).train()


def test(config: Config, checkpoint: str) -> dict[str, float]:
    """Test a checkpoint of the config's model.

    Args:
        config: The config that the checkpoint was trained with.
        checkpoint: A checkpoint written by training.

    Returns:
        dict[str, float]: The metrics.

    Raises:
        ValueError: If the checkpoint doesn't hold everything that the config trains.
    """
    prepare(config)
    config.load_from = checkpoint
    config.resume = False
    config.train_dataloader = config.train_cfg = config.optim_wrapper = None
    config.param_scheduler = None
    for name in ('branch_pruning', 'learning_scalar', 'summary'):
        config.default_hooks.pop(name, None)
    runner = Runner.from_cfg(config)
    _check_complete(runner.model, checkpoint)
    return runner.test()


def merge(config: Config, checkpoint: str, out: str) -> Path:
    """Merge a checkpoint into a plain model that needs no mmdmlora.

    Args:
        config: The config that the checkpoint was trained with.
        checkpoint: A checkpoint written by training.
        out: Where to write the merged checkpoint.

    Returns:
        Path: A stock mmpretrain config for it, written beside ``out``.

    Raises:
        ValueError: If the checkpoint doesn't fit or the method can't be merged.
    """
    check_files(Config(dict(model=config.to_dict()['model'])))
    init_default_scope(config.get('default_scope', 'mmdmlora'))
    # A backbone without a checkpoint is random: the Runner's seed makes it the same.
    set_random_seed(config.get('randomness', {}).get('seed'))
    model = MODELS.build(config.model)
    state = _check_complete(model, checkpoint)
    model.load_state_dict(state['state_dict'])
    return save_merged(model, config, out, state.get('meta', {}).get('dataset_meta'))


def _check_complete(model: torch.nn.Module, checkpoint: str) -> dict:
    """Load a checkpoint and refuse one that leaves a trained tensor as it is."""
    try:
        loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    except FileNotFoundError as error:
        raise ValueError(f'there is no checkpoint {checkpoint!r}.') from error
    model = model.module if is_model_wrapper(model) else model
    state = loaded.get('state_dict')
    if state is None:
        raise ValueError(
            f'{checkpoint!r} has no state_dict: it is no checkpoint written by training.'
        )
    expected = model.state_dict()
    missing = [
        name
        for name, tensor in expected.items()
        if name not in state or state[name].shape != tensor.shape
    ]
    if missing:
        raise ValueError(
            f'{checkpoint!r} does not fit the config: {len(missing)} of {len(expected)} '
            f'tensors are missing or have another shape, first {missing[0]!r}. Use the '
            'config that it was trained with.'
        )
    return loaded

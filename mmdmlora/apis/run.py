"""Training, testing and merging from a config."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope

from mmdmlora.engine.compiling import prepare_compile
from mmdmlora.engine.console import build_runner
from mmdmlora.engine.export import save_merged
from mmdmlora.engine.freed_memory import keep_freed_memory
from mmdmlora.engine.garbage import existing_objects_frozen
from mmdmlora.engine.hooks import SummaryHook
from mmdmlora.engine.launch import (
    check_amp,
    drop_invalid_worker_options,
    prepare_distributed,
)
from mmdmlora.engine.required_hooks import required_hooks
from mmdmlora.engine.seeding import restored_determinism
from mmdmlora.engine.tf32 import check_tf32, tf32
from mmdmlora.engine.unwrapped_model import unwrapped
from mmdmlora.io import expand_home, install_safe_loaders

from .checks import (
    check_caches,
    check_files,
    check_numbers,
    check_schedule,
    check_start,
    check_steps,
    check_writable,
)
from .outputs import check_merged, check_run, config_inputs
from .trained_run import check_complete, load_trained

# Of these alone mmengine accepts None, to switch the hook off.
MMENGINE_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)
STOCK_ITER_LOOP = ('IterBasedTrainLoop', 'mmengine.IterBasedTrainLoop')
ITER_LOOP = 'mmdmlora.ResumableIterBasedTrainLoop'
STOCK_CHECKPOINT_HOOK = ('CheckpointHook', 'mmengine.CheckpointHook')
RUNS = itertools.count()
# What a test leaves out of a config, and the hooks that steer a training or end it.
TRAINING_SETTINGS = (
    'train_dataloader',
    'train_cfg',
    'val_dataloader',
    'val_cfg',
    'val_evaluator',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'compile',
    'load_from',
    'resume',
)
TRAINING_HOOKS = ('branch_pruning', 'learning_scalar', 'summary', 'compile')


def prepare(config: Config) -> Config:
    """Make a config run on a current PyTorch, in place.

    Adds the hooks that a resumable training needs and those that guard it where a config
    lacks them, replaces mmengine's checkpoint hook by the crash-safe one, its loop by
    iterations by the resumable one and its ``compile`` by
    :class:`~mmdmlora.engine.CompileHook`, so that stock configs can be used too, expands
    ``~`` in every path and adapts the launch to the machine. For the whole process
    it replaces mmengine's checkpoint loaders: see
    :func:`~mmdmlora.io.schemes.install_safe_loaders`, and on a CPU it keeps freed memory:
    see :func:`~mmdmlora.engine.keep_freed_memory`. A test is prepared by
    :func:`prepare_test`.

    Returns:
        Config: The same object.

    Raises:
        ValueError: If the working directory can't be written or the run would write over
            what it reads, the backbone's checkpoint
            or the data is missing, a number can't be one, mixed precision is asked for
            without a GPU, or the run is shorter than its warm-up.
    """
    install_safe_loaders()
    if get_device() == 'cpu':
        keep_freed_memory()
    expand_home(config._cfg_dict)
    if config.get('work_dir'):
        check_writable(config.work_dir, 'Name another folder with --work-dir.')
        check_run(config)
    check_files(config)
    check_numbers(config)
    check_caches(config)
    check_schedule(config)
    # What setdefault of a Config returns isn't what it keeps.
    config.setdefault('default_hooks', {})
    hooks = config.default_hooks
    required = required_hooks()
    for name, hook in required.items():
        hooks.setdefault(name, hook)
    checkpoint = hooks['checkpoint']
    if checkpoint is not None and checkpoint.get('type') in STOCK_CHECKPOINT_HOOK:
        checkpoint['type'] = required['checkpoint']['type']
    _prepare_loop(config)
    for name in [n for n, hook in hooks.items() if hook is None]:
        if name not in MMENGINE_HOOKS:
            del hooks[name]
    config.setdefault('launcher', 'none')
    drop_invalid_worker_options(config)
    check_amp(config)
    check_tf32(config)
    prepare_compile(config)
    prepare_distributed(config)
    return config


def _prepare_loop(config: Config) -> None:
    """Let a run by iterations use the resumable loop, and count iterations in its log."""
    loop = config.get('train_cfg') or {}
    if loop.get('by_epoch', True) is False or loop.get('type') in STOCK_ITER_LOOP:
        loop.pop('by_epoch', None)
        loop['type'] = ITER_LOOP
    if loop.get('type') == ITER_LOOP:
        config.setdefault('log_processor', {}).setdefault('by_epoch', False)


def prepare_test(config: Config, checkpoint: str) -> Config:
    """Make a config that tests a checkpoint; the one for training stays as it is.

    Only what a test needs is taken over and checked: the images for training may be
    missing, and settings that need a GPU in training don't matter.

    Args:
        config: The config that the checkpoint was trained with.
        checkpoint: A checkpoint written by training.

    Raises:
        ValueError: See :func:`prepare`.
    """
    settings = config.to_dict()
    hooks = settings.get('default_hooks', {})
    settings = {k: v for k, v in settings.items() if k not in TRAINING_SETTINGS}
    settings['default_hooks'] = {
        name: hook for name, hook in hooks.items() if name not in TRAINING_HOOKS
    }
    # mmengine writes the settings of a run below this name: those of the training stay.
    name = config.filename and config.filename.removesuffix('.py') + '_test.py'
    prepared = prepare(Config(settings, cfg_text=config.text, filename=name))
    prepared.load_from = checkpoint
    return prepared


def train(config: Config) -> dict:
    """Train as a config says; the summary hook tests and merges at the end.

    Several runs of a process don't know of each other.

    Returns:
        dict: The content of ``summary.json``; empty without a
        :class:`~mmdmlora.engine.SummaryHook`, and in all processes but the main one.

    Raises:
        ValueError: See :func:`prepare`, or if the data fills no batch or
            nothing of ``load_from`` fits.
    """
    prepare(config)
    with existing_objects_frozen(), restored_determinism(), tf32(config):
        runner = build_runner(_named_apart(config))
        check_steps(runner)
        if config.get('load_from') and not config.get('resume'):
            check_start(runner, config.load_from)
        runner.train()
    summaries = [h.summary for h in runner.hooks if isinstance(h, SummaryHook)]
    return summaries[0] if summaries else {}


def _named_apart(config: Config) -> Config:
    """With an experiment name that no other run of this process has.

    mmengine shares logger, message hub, visualizer and scope between runs of one name,
    which by default is the second in which they begin.
    """
    name = config.get('experiment_name') or Path(config.filename or 'run').stem
    named = copy.deepcopy(config)
    named.experiment_name = f'{name}_{next(RUNS)}'
    return named


def test(config: Config, checkpoint: str) -> dict[str, float]:
    """Test a checkpoint of the config's model.

    Args:
        config: The config that the checkpoint was trained with; it isn't changed.
        checkpoint: A checkpoint written by training.

    Returns:
        dict[str, float]: The metrics.

    Raises:
        ValueError: See :func:`prepare`, or if the checkpoint doesn't hold everything
            that the config trains.
    """
    with existing_objects_frozen(), tf32(config):
        runner = build_runner(prepare_test(config, checkpoint))
        check_complete(unwrapped(runner.model), checkpoint)
        return runner.test()


def merge(config: Config, checkpoint: str, out: str) -> Path:
    """Merge a checkpoint into a plain model that needs no mmdmlora.

    Args:
        config: The config that the checkpoint was trained with.
        checkpoint: A checkpoint written by training.
        out: Where to write the merged weights: ``.pth``, ``.pt`` or ``.safetensors``.

    Returns:
        Path: A stock mmpretrain config for it, written beside ``out``.

    Raises:
        ValueError: If ``out`` can't be written, is one of the files that are read, or
            has something else beside it than the config of a merged model; the
            checkpoint doesn't fit or the method can't be merged.
    """
    expand_home(config._cfg_dict)
    checkpoint, out = expand_home(checkpoint), expand_home(out)
    check_merged(out, 'OUT', [checkpoint, *config_inputs(config)])
    init_default_scope(config.get('default_scope', 'mmdmlora'))
    model, dataset_meta = load_trained(config, checkpoint)
    return save_merged(model, config, out, dataset_meta)

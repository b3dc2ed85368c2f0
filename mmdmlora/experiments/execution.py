"""Executing one run, in whatever process it is scheduled to."""

from __future__ import annotations

import fcntl
import json
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmdmlora.apis.run import train
from mmdmlora.data_settings import dataset_settings
from mmdmlora.engine.hooks.summary_hook import SCALES
from mmdmlora.engine.unwrapped_model import unwrapped
from mmdmlora.io import atomic_write
from mmdmlora.models.peft_model import find_wrappers
from mmdmlora.registry import HOOKS
from mmdmlora.version import __version__

from .dispersion import dispersion
from .runs import Run

METRIC = 'accuracy/top1'
RECORD = 'record.json'
PACKAGES = ('torch', 'torchvision', 'mmengine', 'mmpretrain', 'numpy')
DETAILS: dict[str, Callable[[nn.Module], dict[str, Any]]] = {}


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Record what came out of a run.

    - When: ``after_train``.
    - Touches: its own ``record``.
    - State: none. All that is recorded stands in the message hub, which checkpoints
      carry, so it holds what happened before an interruption too.
    - Priority: LOWEST, after the summary's test.

    Args:
        details (Sequence[str]): Names of :data:`DETAILS`.
    """

    priority = 'LOWEST'
    record: ClassVar[dict[str, Any]] = {}

    def __init__(self, details: tuple[str, ...] = ()) -> None:
        self.details = details

    def after_train(self, runner: Runner) -> None:
        scalars = runner.message_hub.log_scalars
        seconds = float(scalars['train/time'].data[0].sum())
        validated = scalars.get(f'val/{METRIC}')
        accuracies = [] if validated is None else validated.data[0].tolist()
        model = unwrapped(runner.model)
        RunRecordHook.record = dict(
            validated=accuracies,
            epochs=runner.epoch,
            training_loss=float(scalars['train/loss'].mean(len(runner.train_dataloader))),
            seconds=seconds,
            seconds_per_epoch=seconds / runner.epoch,
            peak_bytes=_peak_bytes(),
            details={k: v for d in self.details for k, v in DETAILS[d](model).items()},
        )


def execute(run: Run, folder: Path, threads: int = 1) -> dict[str, Any]:
    """Train and evaluate, or go on with an interrupted run, and return the record.

    Args:
        run: What to train.
        folder: The folder of this training's key. :data:`RECORD` in it is the record; a
            run that has one isn't repeated.
        threads: PyTorch's threads.

    Returns:
        dict: The ``accuracy`` after the last epoch in per cent, ``best_accuracy`` where
        it was measured along the way, the times in seconds, and what identifies the run.
    """
    result = folder / RECORD
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / 'lock'):
        if not result.is_file():
            torch.set_num_threads(threads)
            summary = train(_config(run, folder))
            record = _record(run, summary)
            with atomic_write(result) as stream:
                stream.write(json.dumps(record).encode())
    return json.loads(result.read_text())


def _config(run: Run, folder: Path) -> Config:
    config = Config(run.resolved())
    config.experiment_name = run.key
    config.work_dir = str(folder)
    config.resume = True
    if run.part == 'search':
        # A validation changes nothing in training: only the last one counts.
        config.train_cfg.val_interval = config.train_cfg.max_epochs
    if config.default_hooks.get('summary'):
        config.default_hooks.summary['merge'] = False
    for dataset in dataset_settings(config).values():
        if dataset.type == 'GeneratedTask':
            dataset.cache_dir = str(folder.parent / 'images')
    recording = dict(type='mmdmlora.RunRecordHook', details=run.details)
    config.custom_hooks = [*(config.get('custom_hooks') or []), recording]
    return config


def _record(run: Run, summary: dict[str, Any]) -> dict[str, Any]:
    found = dict(RunRecordHook.record)
    validated = found.pop('validated')
    tested = summary.get(f'test {METRIC}')
    return dict(
        config=run.config,
        settings=run.settings,
        seed=run.seed,
        part=run.part,
        accuracy=validated[-1] if tested is None else tested,
        best_accuracy=max(validated) if run.part == 'paper' else None,
        trained_parameters=summary['trained parameters'],
        scales=summary.get(SCALES, {}),
        **found,
        commit=_commit(),
        versions={name: version(name) for name in PACKAGES},
        machine=platform.processor() or platform.machine(),
    )


def _dispersion(model: nn.Module) -> dict[str, Any]:
    """Of the branches of the last layer's query, where queries have their own."""
    adapters = {k: v for w in find_wrappers(model) for k, v in w.adapters.items()}
    queries = [a for name, a in adapters.items() if name.endswith('.q')]
    down, up = (queries or [*adapters.values()])[-1].branches()
    found = dispersion(down.detach().cpu().numpy(), up.detach().cpu().numpy())
    return dict(dispersion=found.measures, coordinates=found.coordinates)


DETAILS['dispersion'] = _dispersion


def _peak_bytes() -> int | None:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def _commit() -> str:
    """The commit of the checkout that runs; of an installed package its version."""
    command = ['git', 'describe', '--always', '--dirty', '--abbrev=12']
    here = Path(__file__).parent
    try:
        found = subprocess.run(command, cwd=here, capture_output=True, text=True)
    except OSError:
        return __version__
    return found.stdout.strip() or __version__


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process is at this run, such as one whose driver was killed."""
    with open(path, 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

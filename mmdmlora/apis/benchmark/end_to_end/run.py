"""The compared runs, one after the other, and their table."""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from mmengine.config import Config

from mmdmlora.io import atomic_write, expand_home
from mmdmlora.models.construction import build_backbone
from mmdmlora.quiet_log import quiet_log

from ...compose import find_part, load_config
from ...locations import config_root
from ..methods import find_method
from ..report import machine
from ..steps import default_device
from .photos import write_photos
from .stages import Stage, config_of, stages

MODULE = 'mmdmlora.apis.benchmark.end_to_end.training'


@dataclass(frozen=True)
class EndToEnd:
    """What is compared.

    Attributes:
        work_dir: The folder of images, weights and runs. Finished runs in it are kept.
        backbone: A file of ``configs/_base_/backbones``.
        weights: Its checkpoint, where not the one of that file.
        methods: Files of ``configs/_base_/methods`` of low-rank methods.
        epochs: Epochs of each run.
        images: Training images.
        seeds: Runs of the stock pipeline and of each method.
        dtype: What ours train in, ``float32`` or ``bfloat16``.
        parts: Whether each part's contribution is measured too.
    """

    work_dir: Path
    backbone: str = 'vit-tiny'
    weights: str | None = None
    methods: tuple[str, ...] = ('lora', 'dmlora')
    epochs: int = 50
    images: int = 1000
    seeds: int = 3
    dtype: str = 'bfloat16'
    parts: bool = True

    def __post_init__(self) -> None:
        for name in ('epochs', 'images', 'seeds'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}.')

    def __str__(self) -> str:
        return (
            f'{self.backbone}, {self.images:,} JPEG files of 500 x 500 pixels, '
            f'{self.epochs} epochs, {machine(torch.device(default_device()))}, '
            f'torch {torch.__version__}'
        )


def end_to_end(
    settings: EndToEnd, progress: Callable[[str], None] = lambda text: None
) -> list[dict]:
    """Run what is missing and return all results.

    Args:
        settings: What is compared.
        progress: Called with a line before each run.

    Returns:
        list[dict]: A row for each stage, see :func:`row`.

    Raises:
        ValueError: If a name is unknown, a run fails, or the folder holds a run with
            other settings.
    """
    base = config_root() / '_base_'
    for method in settings.methods:
        find_method(method, base / 'methods')
    backbone = find_part(base, 'backbone', dict(backbone=settings.backbone))
    work_dir = Path(expand_home(str(settings.work_dir)))
    work_dir.mkdir(parents=True, exist_ok=True)
    photos = work_dir / f'photos-{settings.images}'
    if not photos.is_dir():
        progress('writing images')
        unfinished = photos.with_name(f'{photos.name}.part')
        shutil.rmtree(unfinished, ignore_errors=True)
        write_photos(unfinished, settings.images)
        unfinished.rename(photos)
    classes = len([*(photos / 'test').iterdir()])
    weights = _write_weights(backbone, settings.weights, work_dir)
    planned = stages(settings.methods, settings.dtype, settings.parts)
    repeated = {planned[0].name, *(s.name for s in planned[-len(settings.methods) :])}
    results: dict[str, list[dict]] = {stage.name: [] for stage in planned}
    # Seeds outside, so that a machine's drift hits all stages alike.
    for seed in range(settings.seeds):
        for stage in planned:
            if seed == 0 or stage.name in repeated:
                config = config_of(
                    stage, settings.backbone, weights, photos, classes, settings.epochs
                )
                config.randomness = dict(seed=seed)
                folder = work_dir / f'{_slug(stage)}_seed{seed}'
                progress(f'{stage.name}, seed {seed}')
                results[stage.name].append(_run(config, folder))
    stock = results[planned[0].name]
    return [row(stage.name, results[stage.name], stock) for stage in planned]


def row(name: str, runs: list[dict], stock: list[dict]) -> dict:
    """A row of the table.

    Args:
        name: The stage.
        runs: Its runs, one a seed.
        stock: Those of the stock pipeline.

    Returns:
        dict: ``seconds`` of the whole process, ``times_faster`` than stock with the same
        seeds, the shares of the training loop that are spent waiting for data
        (``data_share``) and outside of steps (``outside_share``: data, hooks,
        validations, checkpoints), mean and deviation of the accuracy in per cent, and
        the runs themselves.
    """
    quotients = [b['seconds'] / a['seconds'] for a, b in zip(runs, stock, strict=False)]
    accuracies = [run['accuracy'] for run in runs]
    return dict(
        stage=name,
        seeds=len(runs),
        seconds=statistics.mean(run['seconds'] for run in runs),
        times_faster=statistics.mean(quotients),
        data_share=statistics.mean(
            run['data_seconds'] / run['training_seconds'] for run in runs
        ),
        outside_share=statistics.mean(
            1 - run['step_seconds'] / run['training_seconds'] for run in runs
        ),
        accuracy=statistics.mean(accuracies),
        deviation=statistics.stdev(accuracies) if len(runs) > 1 else None,
        runs=runs,
    )


def markdown(rows: list[dict]) -> str:
    """The rows in Markdown."""
    titles = (
        'run',
        'seconds',
        'times faster',
        'waiting for data',
        'outside of steps',
        'test accuracy (%)',
    )
    lines = [titles, ('---',) * len(titles)]
    for each in rows:
        spread = '' if each['deviation'] is None else f' ± {each["deviation"]:.1f}'
        lines.append(
            (
                each['stage'],
                f'{each["seconds"]:.0f}',
                f'{each["times_faster"]:.2f}',
                f'{100 * each["data_share"]:.1f} %',
                f'{100 * each["outside_share"]:.1f} %',
                f'{each["accuracy"]:.1f}{spread} ({each["seeds"]})',
            )
        )
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)


def report(settings: EndToEnd, rows: list[dict]) -> dict:
    """All results, for a JSON file. Times are in seconds."""
    shown = asdict(settings) | dict(work_dir=str(settings.work_dir))
    return dict(
        settings=shown,
        machine=machine(torch.device(default_device())),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        rows=rows,
    )


def _write_weights(backbone: Path, checkpoint: str | None, folder: Path) -> Path:
    """The backbone's state dict as a plain file, which stock mmpretrain reads too."""
    config = load_config(backbone).model.backbone.to_dict()
    if checkpoint is not None:
        config['init_cfg']['checkpoint'] = checkpoint
    with quiet_log():
        state = build_backbone(config).state_dict()
    digest = hashlib.sha256()
    for tensor in state.values():
        digest.update(tensor.numpy().tobytes())
    file = folder / f'backbone-{digest.hexdigest()[:12]}.pth'
    with atomic_write(file) as stream:
        torch.save(dict(state_dict=state), stream)
    return file


def _run(config: Config, folder: Path) -> dict:
    """The result of a run, which is kept in its folder together with its config."""
    config.work_dir = str(folder / 'run')
    result, config_file = folder / 'result.json', folder / 'config.py'
    if config_file.is_file():
        if config_file.read_text() != config.pretty_text:
            raise ValueError(
                f'{folder} holds a run with other settings. Remove it, or give another '
                'folder.'
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(config_file) as stream:
            stream.write(config.pretty_text.encode())
    if not result.is_file():
        command = [sys.executable, '-m', MODULE]
        measured = folder / 'measured.json'
        start = time.perf_counter()
        with open(folder / 'log.txt', 'w') as log:
            status = subprocess.run(
                [*command, str(config_file), str(measured)],
                stdout=log,
                stderr=subprocess.STDOUT,
            ).returncode
        seconds = time.perf_counter() - start
        if status:
            raise ValueError(
                f'a run has failed with exit code {status}: its log is '
                f'{folder / "log.txt"}. Call again to repeat it.'
            )
        found = json.loads(measured.read_text()) | dict(seconds=seconds)
        with atomic_write(result) as stream:
            stream.write(json.dumps(found).encode())
    return json.loads(result.read_text())


def _slug(stage: Stage) -> str:
    return ''.join(c if c.isalnum() else '-' for c in stage.name).strip('-')

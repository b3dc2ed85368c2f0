"""Running a table of experiments and printing what came out."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from mmengine.registry import init_default_scope

from mmdmlora.io import expand_home

from .benchmark.measurement import Measurement
from .benchmark.methods import build_classifier
from .benchmark.steps import TrainingStep, measure_side_by_side
from .compose import load_config
from .run import train

METRIC = 'test accuracy/top1'
# Images in a measured step, and measured steps.
BATCH, STEPS = 64, 20


@dataclass(frozen=True)
class Table:
    """A table of results: one row a config, each trained from several seeds.

    Attributes:
        rows: The label and the config, relative to ``configs/``, of each row.
        seeds: The seeds of the runs of each row.
    """

    rows: dict[str, str]
    seeds: tuple[int, ...] = (0, 1, 2)


TABLES = dict(
    digits=Table(
        {
            'Full': 'full/vit-tiny_digits.py',
            'Linear': 'linear/vit-tiny_digits.py',
            'BitFit': 'bitfit/vit-tiny_digits.py',
            'Adapter': 'adapter/vit-tiny_digits.py',
            'VPT-shallow': 'vpt-shallow/vit-tiny_digits.py',
            'VPT-deep': 'vpt-deep/vit-tiny_digits.py',
            'RepAdapter': 'repadapter/vit-tiny_digits.py',
            'LoRA': 'lora/vit-tiny_digits.py',
            'DMLoRA': 'dmlora-fixed-scale/vit-tiny_digits.py',
            'DMLoRA-LS': 'dmlora/vit-tiny_digits.py',
        }
    )
)


def reproduce(name: str, configs: Path, work_dir: Path, device: str = 'cpu') -> str:
    """Run all experiments of a table that haven't finished yet.

    Args:
        name: A name in :data:`TABLES`.
        configs: The folder of the configs.
        work_dir: Where the runs go, one folder each. A run whose ``summary.json``
            exists there isn't repeated; one that was interrupted is resumed.
        device: Where step time and memory are measured, ``cpu`` or a CUDA device.

    Returns:
        str: The table in Markdown: mean and standard deviation of the test accuracy,
        trained parameters, and step time and memory, measured with the methods in turn
        once all runs are there; below it where they were measured.

    Raises:
        ValueError: If there is no such table.
    """
    if name not in TABLES:
        raise ValueError(f'there is no table {name!r}: known are {list(TABLES)}.')
    table = TABLES[name]
    work_dir = expand_home(work_dir)
    results = {
        label: [
            _result(configs / file, work_dir / name / Path(file).parent / str(seed), seed)
            for seed in table.seeds
        ]
        for label, file in table.rows.items()
    }
    files = {label: configs / file for label, file in table.rows.items()}
    timings = _measure(files, device)
    lines = [
        '| method | test top-1 (%) | each seed | trained parameters | step (ms) | '
        'step memory (MiB) |',
        '|---|---|---|---|---|---|',
    ]
    for timing in timings:
        runs = results[timing.name]
        scores = [run[METRIC] for run in runs]
        lines.append(
            f'| {timing.name} '
            f'| {statistics.mean(scores):.2f} ± {statistics.stdev(scores):.2f} | '
            f'{", ".join(f"{score:.2f}" for score in scores)} | '
            f'{runs[0]["trained parameters"]:,} | '
            f'{1000 * timing.median:.1f} | '
            f'{timing.step_bytes / 2**20:.1f} |'
        )
    lines += ['', f'Steps: batch {BATCH}, {STEPS} steps each in turn, on {device}.']
    return '\n'.join(lines)


def _measure(files: dict[str, Path], device: str) -> list[Measurement]:
    """Measure steps of all configs side by side."""
    init_default_scope('mmdmlora')
    configs = {label: load_config(file) for label, file in files.items()}
    steps = [
        TrainingStep(
            label, build_classifier(config.model), config.input_size, BATCH, device
        )
        for label, config in configs.items()
    ]
    return measure_side_by_side(steps, STEPS)


def _result(config_file: Path, work_dir: Path, seed: int) -> dict:
    summary = work_dir / 'summary.json'
    if not summary.is_file():
        config = load_config(config_file)
        config.work_dir = str(work_dir)
        config.randomness.seed = seed
        config.resume = True
        train(config)
    return json.loads(summary.read_text())

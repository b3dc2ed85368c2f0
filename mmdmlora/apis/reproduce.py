"""Running a table of experiments and printing what came out."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from .compose import load_config
from .run import train

METRIC = 'test accuracy/top1'


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
            'Linear probe': 'linear/vit-tiny_digits.py',
            'LoRA': 'lora/vit-tiny_digits.py',
            'DMLoRA-LS': 'dmlora/vit-tiny_digits.py',
        }
    )
)


def reproduce(name: str, configs: Path, work_dir: Path) -> str:
    """Run all experiments of a table that haven't finished yet.

    Args:
        name: A name in :data:`TABLES`.
        configs: The folder of the configs.
        work_dir: Where the runs go, one folder each. A run whose ``summary.json``
            exists there isn't repeated; one that was interrupted is resumed.

    Returns:
        str: The table in Markdown: mean and standard deviation of the test accuracy.

    Raises:
        ValueError: If there is no such table.
    """
    if name not in TABLES:
        raise ValueError(f'there is no table {name!r}: known are {list(TABLES)}.')
    lines = [
        '| method | test top-1 (%) | each seed | trained parameters |',
        '|---|---|---|---|',
    ]
    for label, file in TABLES[name].rows.items():
        results = [
            _result(configs / file, work_dir / name / Path(file).parent / str(seed), seed)
            for seed in TABLES[name].seeds
        ]
        scores = [result[METRIC] for result in results]
        lines.append(
            f'| {label} '
            f'| {statistics.mean(scores):.2f} ± {statistics.stdev(scores):.2f} | '
            f'{", ".join(f"{score:.2f}" for score in scores)} | '
            f'{results[0]["trained parameters"]:,} |'
        )
    return '\n'.join(lines)


def _result(config_file: Path, work_dir: Path, seed: int) -> dict:
    summary = work_dir / 'summary.json'
    if not summary.is_file():
        config = load_config(config_file)
        config.work_dir = str(work_dir)
        config.randomness.seed = seed
        config.resume = True
        train(config)
    return json.loads(summary.read_text())

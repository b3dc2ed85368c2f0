"""Invented outcomes of runs, for the tests of what is made of outcomes."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from mmdmlora.datasets.tasks import FEWSHOT_TASKS, VTAB_TASKS
from mmdmlora.experiments.outcome import Outcome

MINI = {
    'digits': 'digits',
    'clevr-count': 'Structured',
    'clevr-dist': 'Structured',
    'dsprites-loc': 'Structured',
    'dsprites-ori': 'Structured',
}
VTAB = {task.name: task.group for task in VTAB_TASKS}
FEWSHOT = {task.name: task.group for task in FEWSHOT_TASKS}
GAINS = {
    'Linear': -11.0,
    'RepAdapter': 0.6,
    'LoRA': 0.0,
    'DMLoRA': -0.8,
    'DMLoRA, not pruned': -2.4,
    'DMLoRA-LS': 1.7,
}


def outcome(**changes: Any) -> Outcome:
    """One outcome."""
    fields = dict(
        table='table3',
        backbone='ViT-Ti/4 (embedded)',
        row='LoRA',
        column='',
        task='digits',
        group='digits',
        seed=0,
        accuracy=70.0,
        best_accuracy=None,
        settings={'model.backbone.num_branches': 8},
        search_runs=12,
        seconds=60.0,
        seconds_per_epoch=1.0,
        step_bytes=50 * 2**20,
        details={},
    )
    return Outcome(**{**fields, **changes})


def accuracies(
    gains: dict[str, float],
    tasks: dict[str, str] = MINI,
    columns: Iterable[tuple[str, float]] = (('', 0.0),),
    seeds: Iterable[int] = (0, 1, 2),
    **changes: Any,
) -> list[Outcome]:
    """Outcomes of a table: a base of each task, the gain of row and column, and noise."""
    generator = np.random.default_rng(0)
    return [
        outcome(
            row=row,
            column=column,
            task=task,
            group=group,
            seed=seed,
            accuracy=60 + 4 * index % 30 + gain + more + generator.normal(scale=0.5),
            seconds=60 + 5 * place + generator.normal(),
            seconds_per_epoch=1 + place / 20,
            **changes,
        )
        for place, (row, gain) in enumerate(gains.items())
        for column, more in columns
        for index, (task, group) in enumerate(tasks.items())
        for seed in seeds
    ]


def with_scales(outcomes: Iterable[Outcome], num_layers: int = 4) -> list[Outcome]:
    """The outcomes of rows with LS get learned scales."""
    generator = np.random.default_rng(1)
    changed = []
    for each in outcomes:
        if each.row.endswith('LS'):
            each.details['scales'] = {
                f'layers.{layer}.attn.qkv.{part}': float(
                    np.exp(layer / num_layers + generator.normal(scale=0.4))
                )
                for layer in range(num_layers)
                for part in 'qv'
            }
        changed.append(each)
    return changed


def dispersions(
    tasks: Iterable[str] = ('caltech101', 'dmlab'), seeds: Iterable[int] = (0, 1, 2)
) -> list[Outcome]:
    """Outcomes of Table 1: a range that grows with n, in the same ratio to its null."""
    generator = np.random.default_rng(2)
    found = []
    for n in (4, 8, 16):
        for task in tasks:
            for seed in seeds:
                null = 40.0 * n + generator.normal()
                measures = {'t-SNE range': 1.5 * null, 'null t-SNE range': null}
                for kind in ('down', 'up', 'delta-W'):
                    for what in ('distance', 'cosine'):
                        value = float(generator.normal(scale=0.2))
                        measures[f'{what} ({kind})'] = value
                        measures[f'null {what} ({kind})'] = value / 2
                points = [
                    [*(generator.normal(size=2) + 3 * generator.normal()), branch]
                    for branch in range(n)
                    for _ in range(8)
                ]
                found.append(
                    outcome(
                        table='table1',
                        backbone='ViT-B/16',
                        row='DMLoRA, not pruned',
                        column=f'n = {n}',
                        task=task,
                        group=VTAB[task],
                        seed=seed,
                        accuracy=70 - n / 4,
                        details={'dispersion': measures, 'coordinates': points},
                    )
                )
    return found


def everything() -> list[Outcome]:
    """Outcomes of every table and figure."""
    slow_or_fast = [('S1', 0.0), ('S2', -0.2), ('S3', 0.8), ('Optimal', 0.9)]
    shots = [('1', -20.0), ('2', -12.0), ('4', -7.0), ('8', -3.0), ('16', 0.0)]
    fractions = [('10 %', -15.0), ('50 %', -4.0), ('80 %', -1.0), ('100 %', 0.0)]
    lengths = [('60 epochs', 0.0), ('300 epochs', 2.0), ('600 epochs', 2.5)]
    few = {row: GAINS[row] for row in ('Linear', 'LoRA', 'DMLoRA-LS')}
    return [
        *with_scales(accuracies(GAINS)),
        *with_scales(accuracies(few, VTAB, backbone='ViT-B/16', best_accuracy=78.0), 12),
        *accuracies(few, table='table4', backbone='MAE', tasks=VTAB, seeds=[0]),
        *accuracies(
            {'LoRA': 0.0, 'DMLoRA': 0.4}, {'cub': 'FGVC'}, fractions, table='table5'
        ),
        *accuracies(few, FEWSHOT, shots, table='fig2', backbone='ViT-B/16'),
        *accuracies({'DMLoRA-LS': 1.0}, MINI, slow_or_fast, table='table7'),
        *accuracies(few, VTAB, table='table6', backbone='ViT-B/16'),
        *accuracies({'LoRA': 0.0, 'DMLoRA': 0.3}, MINI, lengths, table='study'),
        *dispersions(),
    ]

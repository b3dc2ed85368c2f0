"""Plots of what is inside of adapters: scales as a heat map, branches after t-SNE."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from ..outcome import Outcome
from .lines import Line
from .style import MARKERS, Picture, name_axes, panels

# Of more columns the numbers of a heat map would be too small to read.
_MOST_NUMBERED = 12


def scales(lines: Sequence[Line], name: str) -> list[Picture]:
    """The scale of each adapter on each task, a heat map each line that learned any."""
    pictures = []
    for index, line in enumerate(lines):
        if any(_has_learned_scales(outcome) for outcome in line.outcomes):
            table = _scale_table(line)
            pictures.append(_heat_map(line, table, f'{name}-scales-{index}'))
    return pictures


def scatters(lines: Sequence[Line], name: str) -> list[Picture]:
    """The branches after t-SNE, a panel each task and line."""
    found: dict[tuple[str, str], Outcome] = {}
    for line in lines:
        for outcome in sorted(line.outcomes, key=lambda outcome: outcome.seed):
            if outcome.details.get('coordinates'):
                found.setdefault((line.label, outcome.task), outcome)
    if not found:
        return []
    labels = list(dict.fromkeys(label for label, _ in found))
    tasks = [task for task in lines[0].tasks if any(task == key[1] for key in found)]
    columns = len(labels) if len(labels) > 1 else 3
    figure, grid = panels(len(labels) * len(tasks), columns)
    places = [(label, task) for task in tasks for label in labels]
    for axes, place in zip(grid, places, strict=True):
        if place in found:
            outcome = found[place]
            _scatter(axes, outcome.details['coordinates'])
            title = f'{outcome.task}, {outcome.column or outcome.row}'
            name_axes(axes, 't-SNE 1 (no unit)', 't-SNE 2 (no unit)', title)
        else:
            axes.remove()
    caption = (
        'Up branches of the q adapter of the last layer after t-SNE: each point is a '
        'column of a branch, each colour and marker a branch; the first seed.'
    )
    return [Picture(f'{name}-tsne', caption, figure)]


def _has_learned_scales(outcome: Outcome) -> bool:
    """Held scales are one number for all adapters of a run."""
    return len({*outcome.details.get('scales', {}).values()}) > 1


def _scale_table(line: Line) -> dict[str, dict[str, float]]:
    """The scale of each adapter, the mean over seeds, by task."""
    numbers: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for outcome in line.outcomes:
        for adapter, value in outcome.details.get('scales', {}).items():
            numbers[outcome.task][adapter].append(value)
    return {
        task: {adapter: fmean(values) for adapter, values in numbers[task].items()}
        for task in line.tasks
        if task in numbers
    }


def _heat_map(line: Line, table: dict[str, dict[str, float]], name: str) -> Picture:
    from matplotlib.colors import LogNorm

    adapters = sorted({a for column in table.values() for a in column}, key=_by_numbers)
    image = [[table[task].get(a, float('nan')) for task in table] for a in adapters]
    present = [value for row in image for value in row if value == value]
    figure, (axes,) = panels(1, 1, height=1.2 + 0.24 * len(adapters))
    figure.set_figwidth(max(4.5, 2.6 + 0.5 * len(table)))
    low, high = min(present), max(present)
    norm = LogNorm(low, high)
    shown = axes.imshow(image, norm=norm, cmap='cividis', aspect='auto')
    axes.set_xticks(range(len(table)), table, rotation=40, ha='right')
    axes.set_yticks(range(len(adapters)), adapters)
    name_axes(axes, 'task', 'adapter', f'{line.backbone}: {line.label}')
    bar = figure.colorbar(shown, ax=axes, format='%.3g')
    bar.set_label('scale s (no unit)', fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.set_ticks(np.geomspace(low, high, 5))
    bar.minorticks_off()
    middle = (low * high) ** 0.5
    if len(table) <= _MOST_NUMBERED:
        for y, row in enumerate(image):
            for x, value in enumerate(row):
                colour = 'black' if value > middle else 'white'
                centred = dict(ha='center', va='center', fontsize=7, color=colour)
                axes.text(x, y, f'{value:.2g}' if value == value else '', **centred)
    caption = f'Learned scale of each adapter, {line.label}; the mean over seeds.'
    return Picture(name, caption, figure)


def _scatter(axes, coordinates: Sequence[Sequence[float]]) -> None:
    from matplotlib import colormaps

    branches = sorted({int(branch) for _, _, branch in coordinates})
    for index, branch in enumerate(branches):
        points = [(x, y) for x, y, its in coordinates if int(its) == branch]
        axes.scatter(
            *zip(*points, strict=True),
            s=14,
            color=colormaps['viridis'](index / max(1, len(branches) - 1)),
            marker=MARKERS[index % len(MARKERS)],
        )


def _by_numbers(adapter: str) -> list[tuple[int, str]]:
    """Sorts 'layers.10' behind 'layers.9'."""
    return [
        (int(part), '') if part.isdigit() else (-1, part)
        for part in re.split(r'(\d+)', adapter)
    ]

"""The tables of the branches' dispersion, the paper's Table 1 and direct measures."""

from __future__ import annotations

from collections.abc import Sequence

from ..claims import dispersion_measure, range_over_null
from .cells import Grid, beside_paper, heading, labels, num_seeds, number, side_by_side
from .lines import Line


def ranges(lines: Sequence[Line]) -> Grid:
    """The range after t-SNE on each task, as in the paper."""
    tasks = list(lines[0].tasks)
    titles, names = labels(lines)
    header = [*titles, *(heading(task, lines, task) for task in tasks), 'seeds']
    rows = []
    value = dispersion_measure('t-SNE range')
    for line, name in zip(lines, names, strict=True):
        spreads = line.averages(value).tasks
        cells = [beside_paper(line, task, spreads.get(task)) for task in tasks]
        rows.append([*name, *cells, num_seeds([line], value)])
    return Grid('Range of the branches after t-SNE', header, rows)


def direct_measures(lines: Sequence[Line]) -> Grid:
    """The range, distances and cosines, each beside the null."""
    kinds = ('down', 'up', 'delta-W')
    measures = [f'{what} ({kind})' for what in ('distance', 'cosine') for kind in kinds]
    titles, names = labels(lines)
    header = [*titles, 't-SNE range / null', 'range as a multiple of the null']
    header += [f'{measure} / null' for measure in measures]
    rows = []
    for line, name in zip(lines, names, strict=True):
        cells = [number(line.averages(range_over_null).overall, 2)]
        rows.append([*name, _with_null(line, 't-SNE range', 1), *cells])
        rows[-1] += [_with_null(line, measure, 3) for measure in measures]
    return Grid('Direct measures and the null, means of the tasks', header, rows)


def _with_null(line: Line, measure: str, digits: int) -> str:
    measured, null = (
        line.averages(dispersion_measure(full)).overall
        for full in (measure, f'null {measure}')
    )
    return side_by_side(number(measured, digits), number(null, digits))

"""Plots of the accuracy against what a table varies, and against the time of training."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..outcome import Spread
from ..paper import AVERAGE
from .cells import seconds
from .lines import Line
from .style import Picture, legend, line_styles, name_axes, panels

ACCURACY = 'test top-1 (%)'
MEAN = 'mean of the tasks'


@dataclass(frozen=True)
class Axis:
    """What the columns of a table may vary.

    Attributes:
        pattern: What its columns look like, with the number as the first group.
        label: The label of the axis, with its unit.
        caption: What the plot is of.
        name: The end of the file's name.
        is_log: Whether steps are factors.
    """

    pattern: str
    label: str
    caption: str
    name: str
    is_log: bool = True

    def place(self, column: str) -> float | None:
        """Where a column of outcomes lies on the axis."""
        match = re.fullmatch(self.pattern, column)
        return float(match[1]) if match else None


AXES = (
    Axis(r'(\d+)', 'training images of each class', 'Few-shot curves', 'shots'),
    Axis(r'n = (\d+)', 'number of branches n', 'Accuracy by branches', 'branches'),
    Axis(
        r'([\d.]+) ?%', 'training images used (%)', 'Accuracy by data', 'fraction', False
    ),
    Axis(r'(\d+) epochs', 'epochs of training', 'Accuracy by length', 'epochs'),
)


def curves(lines: Sequence[Line], rows: Iterable[str], name: str) -> list[Picture]:
    """The accuracy against each axis that the columns of a table vary.

    Args:
        lines (Sequence[Line]): The lines of one table and backbone.
        rows (Iterable[str]): The rows of the whole report, which decide the styles.
        name (str): The start of the files' names.
    """
    pictures = []
    for axis in AXES:
        placed = [(axis.place(line.column), line) for line in lines]
        on_axis = [(place, line) for place, line in placed if place is not None]
        if len({place for place, _ in on_axis}) > 1:
            pictures.append(_curve(axis, on_axis, rows, name))
    return pictures


def times(lines: Sequence[Line], rows: Iterable[str], name: str) -> list[Picture]:
    """The accuracy against the time of training, a point each line."""
    points = [
        (line, time, accuracy)
        for line in lines
        if not line.column
        and (time := line.averages(seconds).overall)
        and (accuracy := line.averages().overall)
    ]
    if len(points) < 2:
        return []
    styles = line_styles(rows)
    figure, (axes,) = panels(1, 1, height=3.4, width=6.8)
    for line, time, accuracy in points:
        axes.errorbar(
            time.mean,
            accuracy.mean,
            xerr=time.deviation or 0,
            yerr=accuracy.deviation or 0,
            capsize=2,
            **styles[line.row] | dict(linestyle='none'),
        )
    axes.set_xlim(
        0, 1.1 * max(time.mean + (time.deviation or 0) for _, time, _ in points)
    )
    axes.grid(alpha=0.3)
    name_axes(axes, 'time of training (s), mean of the tasks', f'{ACCURACY}, {AVERAGE}')
    legend(figure, [axes])
    caption = 'Accuracy against the time of training; bars: deviation over seeds.'
    return [Picture(f'{name}-time', caption, figure)]


def _curve(
    axis: Axis, on_axis: Sequence[tuple[float, Line]], rows: Iterable[str], name: str
) -> Picture:
    tasks = list(on_axis[0][1].tasks)
    titles = [*tasks, MEAN] if len(tasks) > 1 else tasks
    styles = line_styles(rows)
    figure, grid = panels(len(titles), columns=3)
    shown = dict.fromkeys(line.row for _, line in on_axis)
    places = sorted({place for place, _ in on_axis})
    for axes, title in zip(grid, titles, strict=True):
        for row in shown:
            points = [
                (place, spread)
                for place, line in on_axis
                if line.row == row and (spread := _spread(line, title))
            ]
            axes.errorbar(
                [place for place, _ in points],
                [spread.mean for _, spread in points],
                yerr=[spread.deviation or 0 for _, spread in points],
                capsize=2,
                markersize=4,
                linewidth=1.3,
                **styles[row],
            )
        if axis.is_log:
            axes.set_xscale('log', base=2)
        axes.set_xticks(places, [f'{place:g}' for place in places])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        name_axes(axes, axis.label, ACCURACY, title)
    legend(figure, grid)
    caption = f'{axis.caption}; bars: deviation over seeds.'
    return Picture(f'{name}-{axis.name}', caption, figure)


def _spread(line: Line, title: str) -> Spread | None:
    averages = line.averages()
    return averages.overall if title == MEAN else averages.tasks.get(title)

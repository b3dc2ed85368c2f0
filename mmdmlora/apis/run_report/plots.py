"""The plots of a report, as SVG text; colours that colour-blind people tell apart."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .predictions import Predictions
from .run_log import SCALE, RunLog

# Okabe and Ito's colours, without the yellow, which is faint on white.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
STYLES = ('-', '--', ':', '-.')
MOST_NAMED_CLASSES = 20
MOST_LEGEND_ENTRIES = 8
SIZE = (5.4, 3.4)


def loss_plot(runs: Sequence[RunLog]) -> str | None:
    """The training loss of each run."""
    curves = [(run, *run.training_curve('loss')) for run in runs]
    return _curves(
        runs, [(r, r.name, _style(runs, r), x, y) for r, x, y in curves], 'training loss'
    )


def accuracy_plot(runs: Sequence[RunLog]) -> str | None:
    """Accuracies on training batches (dashed) and validation images."""
    curves = []
    for run in runs:
        x, y = run.training_curve('accuracy_top-1')
        curves.append((run, f'{run.name}, training', '--', x, y))
        measured = run.validation_curves()
        for name in [n for n in measured if 'accuracy' in n] or measured:
            curves.append((run, f'{run.name}, validation {name}', '-', *measured[name]))
    has_others = any('accuracy' not in n for r in runs for n in r.validation_curves())
    label = 'accuracy (%) or metric' if has_others else 'accuracy (%)'
    return _curves(runs, curves, label, markers=True)


def branches_plot(runs: Sequence[RunLog]) -> str | None:
    """The active branches of each layer over time."""
    curves = [(run, *run.training_curve('branches')) for run in runs]
    # The first value holds from the start on.
    lines = [(r, r.name, _style(runs, r), [0, *x], y[:1] + y) for r, x, y in curves if x]
    return _curves(runs, lines, 'active branches of a layer', whole=True)


def scales_plot(run: RunLog) -> str | None:
    """The scale of each layer over time, from the first layer (dark) to the last."""
    names = run.places
    if not names:
        return None
    with _drawing() as figure:
        axes = figure.add_subplot()
        shades = colormaps['viridis'](np.linspace(0, 0.85, max(len(names), 2)))
        kinds = list(dict.fromkeys(_part(name) for name in names))
        for name, shade in zip(names, shades, strict=False):
            lines = [line for line in run.scales if SCALE + name in line]
            axes.plot(
                [line['step'] for line in lines],
                [line[SCALE + name] for line in lines],
                color=shade,
                linestyle=STYLES[kinds.index(_part(name)) % len(STYLES)],
                label=name,
            )
        if len(names) <= MOST_LEGEND_ENTRIES:
            figure.legend(loc='outside right upper', frameon=False, fontsize=7)
        else:
            axes.set_title(f'{len(names)} places, first dark, last bright', fontsize=9)
        axes.set_xlabel(run.unit)
        axes.set_ylabel('scale s (no unit)')
        return _svg(figure)


def active_plot(predictions: Predictions, names: Sequence[str]) -> str | None:
    """Which branches of each layer are active in the last checkpoint."""
    if not predictions.active:
        return None
    layers = len(predictions.active['down'])
    with _drawing((SIZE[0], 1.4 + 0.2 * layers)) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (kind, mask) in zip(panels, predictions.active.items(), strict=True):
            axes.pcolormesh(mask, cmap='Blues', vmin=0, vmax=1.4, edgecolors='#ccc')
            axes.set_xlabel(f'{kind} branch')
            axes.set_xticks(np.arange(mask.shape[1]) + 0.5, range(mask.shape[1]))
            axes.tick_params(length=0)
        named = names if len(names) == layers else [str(i) for i in range(layers)]
        panels[0].set_yticks(np.arange(layers) + 0.5, named)
        panels[0].set_ylabel('' if named is names else 'place')
        panels[0].invert_yaxis()
        figure.suptitle('blue: active', fontsize=9)
        return _svg(figure)


def confusion_plot(predictions: Predictions) -> str:
    """How often images of each class were taken for each class (% of the class)."""
    counts = predictions.confusion
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = len(counts)
    is_named = size <= MOST_NAMED_CLASSES
    side = 3.2 + (0.22 * size if is_named else 2.5)
    with _drawing((side + 0.6, side)) as figure:
        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap='Blues', vmin=0, vmax=100)
        bar = figure.colorbar(image, shrink=0.75)
        bar.set_label('share of the true class (%)')
        axes.set_xlabel('predicted class')
        axes.set_ylabel('true class')
        if is_named:
            names = [n if len(n) <= 18 else f'{n[:17]}…' for n in predictions.classes]
            is_long = max(map(len, names)) > 2
            axes.set_xticks(range(size), names)
            if is_long:
                axes.tick_params(axis='x', rotation=45)
                for tick in axes.get_xticklabels():
                    tick.set_horizontalalignment('right')
            axes.set_yticks(range(size), names)
            for row, column in np.argwhere(counts):
                colour = 'white' if shares[row, column] > 55 else 'black'
                text = str(counts[row, column])
                axes.text(
                    column, row, text, ha='center', va='center', color=colour, fontsize=7
                )
        return _svg(figure)


def _curves(
    runs: Sequence[RunLog],
    curves: Sequence[tuple[RunLog, str, str, list[float], list[float]]],
    label: str,
    whole: bool = False,
    markers: bool = False,
) -> str | None:
    """Curves of some runs in one plot, a colour for each run; None without a point."""
    curves = [curve for curve in curves if curve[3]]
    if not curves:
        return None
    with _drawing() as figure:
        axes = figure.add_subplot()
        for run, name, style, x, y in curves:
            few = len(x) == 1 or (markers and style == '-' and len(x) <= 30)
            axes.plot(
                x,
                y,
                style,
                color=COLOURS[_place(runs, run) % len(COLOURS)],
                label=name,
                marker='o' if few else None,
                markersize=3,
                drawstyle='steps-pre' if whole else 'default',
            )
        axes.set_xlabel(' or '.join(dict.fromkeys(run.unit for run in runs)))
        axes.set_ylabel(label)
        if whole:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        if len(curves) > 1:
            figure.legend(loc='outside lower center', frameon=False, fontsize=8)
        return _svg(figure)


def _place(runs: Sequence[RunLog], run: RunLog) -> int:
    return next(i for i, each in enumerate(runs) if each is run)


def _style(runs: Sequence[RunLog], run: RunLog) -> str:
    """The line of a run, so that equal curves don't hide each other."""
    return STYLES[_place(runs, run) % len(STYLES)]


def _part(name: str) -> str:
    """The part of a fused layer, ``q`` or ``v``."""
    return name.rpartition('.')[2]


class _drawing:
    """A figure in the report's style."""

    def __init__(self, size: tuple[float, float] = SIZE) -> None:
        self.size = size
        self.context = rc_context(
            {
                'axes.spines.top': False,
                'axes.spines.right': False,
                'axes.grid': False,
                'font.size': 9,
                'svg.fonttype': 'path',
            }
        )

    def __enter__(self) -> Figure:
        self.context.__enter__()
        return Figure(figsize=self.size, layout='constrained')

    def __exit__(self, *error: object) -> None:
        self.context.__exit__(None, None, None)


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format='svg', metadata={'Date': None})
    return stream.getvalue()

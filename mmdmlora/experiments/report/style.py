"""How the plots of a report look: one colour a method, safe for colour-blind readers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmdmlora._requirements import extra

from .lines import method_of, row_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette and two of Tol's, which keep apart from it.
_COLOURS = {
    'Full': '#000000',
    'Linear': '#999999',
    'BitFit': '#332288',
    'Adapter': '#56b4e9',
    'VPT-shallow': '#882255',
    'VPT-deep': '#cc79a7',
    'RepAdapter': '#009e73',
    'LoRA': '#0072b2',
    'DMLoRA': '#e69f00',
    'DMLoRA-LS': '#d55e00',
}
_OTHER = '#7a5c3e'
MARKERS = 'osD^vPX<>*hp'
_DASHES = ('-', '--', ':', '-.')
PANEL_WIDTH, PANEL_HEIGHT = 3.2, 2.6  # inches
LEGEND_HEIGHT = 0.6  # inches; a legend of many rows makes the figure higher
_INCHES_OF_KEY, _INCHES_OF_LETTER, _INCHES_OF_ROW = 0.6, 0.06, 0.17


@dataclass(frozen=True)
class Picture:
    """A plot and what is said about it.

    Attributes:
        name: The name of its file, without an ending.
        caption: What it shows.
        figure: The plot.
    """

    name: str
    caption: str
    figure: Figure


def line_styles(rows: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The look of each row's line and points.

    A variant has its method's colour, but a marker and dashes of its own. Where there are
    more rows than markers these come again, hollow.
    """
    styles = {}
    of_method: dict[str | None, int] = {}
    for index, row in enumerate(row_order(rows)):
        method = method_of(row)
        variant = of_method[method] = of_method.get(method, -1) + 1
        styles[row] = dict(
            color=_COLOURS[method] if method else _OTHER,
            marker=MARKERS[index % len(MARKERS)],
            fillstyle='none' if index // len(MARKERS) % 2 else 'full',
            linestyle=_DASHES[variant % len(_DASHES)],
            label=row,
        )
    return styles


def panels(
    number: int,
    columns: int,
    height: float = PANEL_HEIGHT,
    width: float = PANEL_WIDTH,
) -> tuple:
    """A figure with so many panels, at most ``columns`` beside each other.

    Returns:
        tuple[Figure, list[Axes]]: The figure and its panels.

    Raises:
        MissingExtraError: If matplotlib isn't installed.
    """
    with extra('experiments'):
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = min(columns, number)
    rows = -(-number // columns)
    size = (max(width * columns, 4.5), height * rows + LEGEND_HEIGHT)
    figure = Figure(
        figsize=size, layout=ConstrainedLayoutEngine(wspace=0.05, hspace=0.05)
    )
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in grid[number:]:
        axes.remove()
    for axes in grid[:number]:
        axes.tick_params(labelsize=8)
        axes.spines[['top', 'right']].set_visible(False)
    return figure, grid[:number]


def name_axes(axes: Axes, x: str, y: str, title: str = '') -> None:
    """Label the axes of a panel."""
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.set_title(title, fontsize=9)


def legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend for all panels, below them."""
    handles: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    width = _INCHES_OF_KEY + _INCHES_OF_LETTER * max(map(len, handles), default=0)
    columns = max(1, min(4, int(figure.get_figwidth() / width)))
    height = _INCHES_OF_ROW * -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + max(0.0, height - LEGEND_HEIGHT))
    figure.legend(
        handles.values(),
        handles,
        loc='outside lower center',
        ncols=columns,
        frameon=False,
        fontsize=8,
    )

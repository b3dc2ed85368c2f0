"""The cells of a report's tables, and what one table is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..outcome import Outcome, Spread, accuracy
from ..statistics import Comparison
from .lines import Line, Value, span

MISSING = '–'
BETTER, WORSE = '▲', '▼'
COMPARISON_HEADER = ('mean difference', 'p', 'pairs', 'tasks that agree')
_SPACE = '\u00a0'  # no line break inside of a number


@dataclass(frozen=True)
class Grid:
    """A table as text.

    Attributes:
        title: What stands above it.
        header: The titles of the columns.
        rows: The cells.
    """

    title: str
    header: list[str]
    rows: list[list[str]]


def seconds(outcome: Outcome) -> float | None:
    """The time of training, in seconds."""
    return outcome.seconds


def seconds_per_epoch(outcome: Outcome) -> float | None:
    """The time of an epoch, in seconds."""
    return outcome.seconds_per_epoch


def step_bytes(outcome: Outcome) -> float | None:
    """The memory of a training step."""
    return outcome.step_bytes


def best_accuracy(outcome: Outcome) -> float | None:
    """The accuracy of the best test epoch, in per cent."""
    return outcome.best_accuracy


def unbroken(text: str) -> str:
    """A text that no line break may divide, with proper minus signs."""
    return text.replace(' ', _SPACE).replace('-', '−')


def number(spread: Spread | None, digits: int = 1, sign: str = '') -> str:
    """A mean with its deviation over seeds."""
    if spread is None:
        return MISSING
    text = _rounded(spread.mean, digits, sign)
    if spread.deviation is not None:
        text += f' ± {spread.deviation:.{digits}f}'
    return unbroken(text)


def _rounded(value: float, digits: int, sign: str) -> str:
    # Adding zero makes a negative zero a positive one.
    return f'{round(value, digits) + 0.0:{sign}.{digits}f}'


def beside_paper(
    line: Line, column: str, spread: Spread | None, digits: int = 1, mark: str = ''
) -> str:
    """Ours, and where the paper has a number, that and the difference."""
    paper = line.paper(column)
    cell = number(spread, digits) + mark
    if paper is None:
        return cell
    comparable = spread is not None and line.covers(column)
    difference = (
        _rounded(spread.mean - paper, digits, '+') if spread and comparable else MISSING
    )
    return side_by_side(cell, f'{paper:.{digits}f}', unbroken(difference))


def side_by_side(*cells: str) -> str:
    """Numbers in one cell; a line may break behind a slash, not before it."""
    return f'{_SPACE}/ '.join(cells)


def heading(title: str, lines: Sequence[Line], column: str) -> str:
    """The title of a column of :func:`beside_paper`."""
    has_paper = any(line.paper(column) is not None for line in lines)
    return f'{title}: ours / paper / difference' if has_paper else title


def labels(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """What names the lines, with its header: settings only where there are any."""
    if any(line.column for line in lines):
        return ['method', 'setting'], [[line.row, line.column] for line in lines]
    return ['method'], [[line.row] for line in lines]


def num_seeds(lines: Sequence[Line], value: Value = accuracy) -> str:
    """The number of seeds in the averages of some lines: those that have all tasks."""
    overall = (line.averages(value).overall for line in lines)
    return span(spread.seeds if spread else 0 for spread in overall)


def significance(line: Line) -> str:
    """A mark where the line is significantly better or worse than LoRA."""
    comparison = line.against_reference
    if comparison is None or not comparison.is_significant:
        return ''
    return _SPACE + (BETTER if comparison.mean > 0 else WORSE)


def comparison_cells(comparison: Comparison | None) -> list[str]:
    """A comparison, under :data:`COMPARISON_HEADER`."""
    if comparison is None:
        return [MISSING] * len(COMPARISON_HEADER)
    difference = Spread(comparison.mean, comparison.deviation, comparison.pairs)
    return [
        number(difference, 2, sign='+'),
        unbroken('< 0.001') if comparison.p < 0.001 else f'{comparison.p:.3f}',
        str(comparison.pairs),
        unbroken(f'{comparison.tasks_agreeing} of {comparison.tasks}'),
    ]

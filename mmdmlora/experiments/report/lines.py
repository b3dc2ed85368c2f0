"""Outcomes put together line by line, as the tables and plots of a report show them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from mmdmlora.datasets.tasks import BENCHMARKS

from ..outcome import Averages, Outcome, accuracy, averages, values_by_task
from ..paper import AVERAGE, paper_number, paper_tasks
from ..statistics import Comparison, compare

Value = Callable[[Outcome], float | None]

REFERENCE = 'LoRA'
METHODS = (
    'Full',
    'Linear',
    'BitFit',
    'Adapter',
    'VPT-shallow',
    'VPT-deep',
    'RepAdapter',
    'LoRA',
    'DMLoRA',
    'DMLoRA-LS',
)
# Tables whose paper names in its rows what is a column of an outcome.
ROWS_ARE_COLUMNS = ('table1', 'table7')

_TASK_ORDER = [(t.group, t.name) for tasks in BENCHMARKS.values() for t in tasks]


@dataclass(frozen=True)
class Line:
    """The outcomes of one row and column of a table.

    Attributes:
        table: The table.
        backbone: The backbone.
        row: The method.
        column: What is varied beside it, or ''.
        outcomes: The outcomes.
        tasks: The group of each task that the block of the table has, in order.
        reference: The outcomes of LoRA in the same column; none on its own line.
    """

    table: str
    backbone: str
    row: str
    column: str
    outcomes: tuple[Outcome, ...]
    tasks: dict[str, str]
    reference: tuple[Outcome, ...]

    @property
    def label(self) -> str:
        """Row and column."""
        return ', '.join(filter(None, (self.row, self.column)))

    def averages(self, value: Value = accuracy) -> Averages:
        """The averages of a value."""
        return averages(self.outcomes, value, self.tasks)

    @cached_property
    def against_reference(self) -> Comparison | None:
        """The paired comparison of the accuracy with LoRA's."""
        return compare(values_by_task(self.outcomes), values_by_task(self.reference))

    @property
    def search_runs(self) -> str:
        """How many runs the settings were chosen from, over the tasks."""
        return span(outcome.search_runs for outcome in self.outcomes)

    def paper(self, column: str) -> float | None:
        """The paper's number for a group, a task or the average."""
        row = self.column if self.table in ROWS_ARE_COLUMNS else self.row
        if self.table == 'table5' and column == AVERAGE:
            column = self.column
        return paper_number(self.table, self.backbone, row, column)

    def covers(self, column: str) -> bool:
        """Whether a mean is over the tasks of the paper's, so that both are comparable.

        A number of a single task is always comparable.

        Args:
            column (str): A task, a group, or anything else for the mean of all tasks.
        """
        if column in self.tasks:
            return True
        group = column if column in self.tasks.values() else AVERAGE
        ours = {t for t, its in self.tasks.items() if group in (AVERAGE, its)}
        return ours == paper_tasks(self.table, group)


def lines_of(outcomes: Iterable[Outcome]) -> dict[tuple[str, str], list[Line]]:
    """The lines of each table and backbone, in the order of a report.

    Raises:
        ValueError: If a table has two outcomes of the same line, task and seed.
    """
    blocks: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        blocks.setdefault((outcome.table, outcome.backbone), []).append(outcome)
    # Tables by name, figures behind them; backbones as they come.
    tables = sorted(blocks, key=lambda key: (not key[0].startswith('table'), key[0]))
    return {key: _lines(blocks[key]) for key in tables}


def span(numbers: Iterable[int]) -> str:
    """The smallest and the largest of some numbers, or the one that all are."""
    numbers = set(numbers)
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f'{low} to {high}'


def row_order(rows: Iterable[str]) -> list[str]:
    """Methods in the order of the paper's tables, a variant behind its method."""
    return sorted(set(rows), key=lambda row: (_rank(method_of(row)), row))


def method_of(row: str) -> str | None:
    """The method that a row is a variant of: 'DMLoRA' of 'DMLoRA, not pruned'."""
    fitting = [
        method
        for method in METHODS
        if row == method or row.startswith((f'{method} ', f'{method},', f'{method}+'))
    ]
    return max(fitting, key=len, default=None)


def _rank(method: str | None) -> int:
    return len(METHODS) if method is None else METHODS.index(method)


def _lines(outcomes: list[Outcome]) -> list[Line]:
    """The lines of one table and backbone."""
    members: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        members.setdefault((outcome.row, outcome.column), []).append(outcome)
    tasks = {outcome.task: outcome.group for outcome in outcomes}
    order = sorted((group, task) for task, group in tasks.items())
    tasks = {task: group for group, task in sorted(order, key=_task_rank)}
    (table, backbone), *_ = ((o.table, o.backbone) for o in outcomes)
    rows = row_order(row for row, _ in members)
    columns = sorted({column for _, column in members}, key=_column_rank)
    lines = []
    for row in rows:
        for column in columns:
            if (row, column) in members:
                own = tuple(members[row, column])
                lora = () if row == REFERENCE else members.get((REFERENCE, column), ())
                lines.append(Line(table, backbone, row, column, own, tasks, tuple(lora)))
    for line in lines:
        values_by_task(line.outcomes)
    return lines


def _task_rank(place: tuple[str, str]) -> int:
    return _TASK_ORDER.index(place) if place in _TASK_ORDER else len(_TASK_ORDER)


def _column_rank(column: str) -> tuple[int, str]:
    """By the number in it, if there is one."""
    digits = ''.join(filter(str.isdigit, column))
    return (int(digits or 0), column)

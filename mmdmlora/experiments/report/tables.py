"""The tables of accuracies: ours, the paper's and the difference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..claims import Claim
from ..paper import AVERAGE
from .cells import (
    COMPARISON_HEADER,
    MISSING,
    Grid,
    beside_paper,
    best_accuracy,
    comparison_cells,
    heading,
    labels,
    num_seeds,
    number,
    significance,
    unbroken,
)
from .cost_table import costs
from .dispersion_tables import direct_measures, ranges
from .lines import REFERENCE, Line, row_order, span

# Tables whose columns are those of the outcomes, as in the paper.
_COLUMNS_ACROSS = ('table5', 'fig2')


def grids(lines: Sequence[Line]) -> list[Grid]:
    """The tables of one table and backbone of the paper."""
    table = lines[0].table
    if table == 'table1':
        return [ranges(lines), direct_measures(lines)]
    if table == 'table6':
        return [costs(lines), *_against_reference(lines), *_at_ends(lines)]
    one_group = len(set(lines[0].tasks.values())) == 1
    across = table in _COLUMNS_ACROSS and one_group
    shown = [_across(lines) if across else _averages(lines)]
    if len(lines[0].tasks) > 1:
        shown.append(_by_task(lines))
    return [*shown, *_against_reference(lines), *_at_ends(lines)]


def claims_grid(claims: Iterable[Claim]) -> Grid:
    """The claims with their verdicts."""
    rows = [
        [claim.sentence, claim.verdict, *comparison_cells(claim.numbers)]
        for claim in claims
    ]
    return Grid('', ['claim', 'verdict', *COMPARISON_HEADER], rows)


def _average_cell(line: Line) -> str:
    overall = line.averages().overall
    if overall is not None:
        return beside_paper(line, AVERAGE, overall, mark=significance(line))
    done = len({outcome.task for outcome in line.outcomes})
    note = unbroken(f'({done} of {len(line.tasks)} tasks)')
    return f'{beside_paper(line, AVERAGE, None, mark=significance(line))} {note}'


def _averages(lines: Sequence[Line]) -> Grid:
    groups = list(dict.fromkeys(lines[0].tasks.values()))
    if len(groups) == 1:
        groups = []
    best = any(o.best_accuracy is not None for line in lines for o in line.outcomes)
    titles, names = labels(lines)
    header = [
        *titles,
        *(heading(name, lines, name) for name in (AVERAGE, *groups)),
        *(['best test epoch (chosen on test)'] if best else []),
        'seeds',
        'search runs',
    ]
    rows = []
    for line, name in zip(lines, names, strict=True):
        averages = line.averages()
        cells = [_average_cell(line)]
        cells += [
            beside_paper(line, group, averages.groups.get(group)) for group in groups
        ]
        if best:
            cells.append(number(line.averages(best_accuracy).overall))
        rows.append([*name, *cells, num_seeds([line]), line.search_runs])
    return Grid('Test top-1 (%), averages', header, rows)


def _across(lines: Sequence[Line]) -> Grid:
    columns = list(dict.fromkeys(line.column for line in lines))
    by_place = {(line.row, line.column): line for line in lines}
    header = ['method']
    for column in columns:
        its = [line for line in lines if line.column == column]
        header.append(heading(column, its, AVERAGE))
    rows = []
    for row in row_order(line.row for line in lines):
        its = [line for line in lines if line.row == row]
        cells = [
            _average_cell(by_place[row, column]) if (row, column) in by_place else MISSING
            for column in columns
        ]
        runs = span(o.search_runs for line in its for o in line.outcomes)
        rows.append([row, *cells, num_seeds(its), runs])
    return Grid('Test top-1 (%), mean of tasks', [*header, 'seeds', 'search runs'], rows)


def _by_task(lines: Sequence[Line]) -> Grid:
    titles, names = labels(lines)
    tasks = list(lines[0].tasks)
    rows = []
    for line, name in zip(lines, names, strict=True):
        spreads = line.averages().tasks
        rows.append([*name, *(number(spreads.get(task)) for task in tasks)])
    return Grid('Test top-1 (%), each task', [*titles, *tasks], rows)


def _against_reference(lines: Sequence[Line]) -> list[Grid]:
    compared = [line for line in lines if line.against_reference is not None]
    if not compared:
        return []
    titles, names = labels(compared)
    header = [*titles, *COMPARISON_HEADER]
    rows = [
        [*name, *comparison_cells(line.against_reference)]
        for line, name in zip(compared, names, strict=True)
    ]
    return [Grid(f'Accuracy minus {REFERENCE} (points)', header, rows)]


def _at_ends(lines: Sequence[Line]) -> list[Grid]:
    """What was chosen at an end of its space, where better values may lie outside.

    Conditions of a method share its search: it has one row for all of them.
    """
    rows = []
    for method in row_order(line.row for line in lines):
        outcomes = [o for line in lines if line.row == method for o in line.outcomes]
        tasks = {outcome.task for outcome in outcomes}
        for end in sorted({end for outcome in outcomes for end in outcome.ends}):
            its = {outcome.task for outcome in outcomes if end in outcome.ends}
            rows.append([method, end, unbroken(f'{len(its)} of {len(tasks)}')])
    header = ['method', 'searched setting and its end', 'tasks']
    return [Grid('Chosen at an end of what was searched', header, rows)] if rows else []

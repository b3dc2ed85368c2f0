"""The numbers of a table in long form, one record a number, for CSV files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence

from ..claims import dispersion_measure
from ..outcome import Spread, accuracy
from ..paper import AVERAGE
from .cells import best_accuracy, seconds, seconds_per_epoch, step_bytes
from .lines import Line, Value

FIELDS = (
    'table',
    'backbone',
    'row',
    'column',
    'measure',
    'over',
    'mean',
    'deviation',
    'seeds',
    'search_runs',
    'paper',
    'difference',
    'minus_lora',
    'minus_lora_deviation',
    'minus_lora_p',
    'pairs',
    'tasks',
    'tasks_agreeing',
    'settings',
)
ACCURACY = 'test top-1 (%)'


def csv_text(lines: Iterable[Line]) -> str:
    """All numbers of the lines as a CSV file.

    Each record is the mean of a measure over the seeds: of a task, of a group (the mean
    of its tasks), or ``Avg`` (the mean of the groups).
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, FIELDS, lineterminator='\n')
    writer.writeheader()
    for line in lines:
        writer.writerows(_records(line))
    return stream.getvalue()


def _records(line: Line) -> Iterator[dict]:
    place = dict(
        table=line.table, backbone=line.backbone, row=line.row, column=line.column
    )
    for measure, value in _measures(line).items():
        averages = line.averages(value)
        spreads = {**averages.tasks, **averages.groups}
        if averages.overall is not None:
            spreads[AVERAGE] = averages.overall
        for over, spread in spreads.items():
            record = dict(place, measure=measure, over=over, **vars(spread))
            record['search_runs'] = line.search_runs
            record |= _paper(line, measure, over, spread)
            if over in line.tasks:
                record['settings'] = _settings(line, over)
            if measure == ACCURACY and over == AVERAGE:
                record |= _minus_lora(line)
            yield record


def _measures(line: Line) -> dict[str, Value]:
    """The measures that the outcomes of a line have."""
    names = {name for o in line.outcomes for name in o.details.get('dispersion', {})}
    measures: dict[str, Value] = {
        ACCURACY: accuracy,
        'best test epoch (%)': best_accuracy,
        'seconds': seconds,
        'seconds per epoch': seconds_per_epoch,
        'step bytes': step_bytes,
    }
    return measures | {name: dispersion_measure(name) for name in sorted(names)}


def _paper(line: Line, measure: str, over: str, spread: Spread) -> dict:
    """The paper's number for a record, and the difference where it is comparable."""
    column = over
    if line.table == 'table6':
        if over != AVERAGE:
            return {}
        column = 'accuracy' if measure == ACCURACY else measure
    elif measure != ('t-SNE range' if line.table == 'table1' else ACCURACY):
        return {}
    paper = line.paper(column)
    if paper is None:
        return {}
    difference = spread.mean - paper if line.covers(column) else None
    return dict(paper=paper, difference=difference)


def _minus_lora(line: Line) -> dict:
    comparison = line.against_reference
    if comparison is None:
        return {}
    return dict(
        minus_lora=comparison.mean,
        minus_lora_deviation=comparison.deviation,
        minus_lora_p=comparison.p,
        pairs=comparison.pairs,
        tasks=comparison.tasks,
        tasks_agreeing=comparison.tasks_agreeing,
    )


def _settings(line: Line, task: str) -> str:
    """The settings of a task, several if its seeds have several, as JSON."""
    chosen: Sequence[str] = [
        json.dumps(outcome.settings, sort_keys=True, default=str)
        for outcome in line.outcomes
        if outcome.task == task
    ]
    return ' or '.join(dict.fromkeys(chosen))

"""The HTML of a report: one file that needs no other."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from .plots import (
    accuracy_plot,
    active_plot,
    branches_plot,
    confusion_plot,
    loss_plot,
    scales_plot,
)
from .predictions import Predictions
from .run_log import RunLog

# What summary.json says of files.
FILES = ('checkpoint', 'its file', 'merged model')
STYLE = """
body {font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2em auto; padding: 0 1em;
  max-width: 1200px}
h1 {font-size: 1.6em}
h2 {font-size: 1.25em; margin-top: 2em; border-bottom: 1px solid #ddd}
h3 {font-size: 1em; margin: 1em 0 .2em}
table {border-collapse: collapse} td, th {padding: .2em 1em .2em 0; text-align: left;
  vertical-align: top} tr + tr {border-top: 1px solid #eee}
.row {display: flex; flex-wrap: wrap; gap: 1em 2em; align-items: flex-start}
.row > div {flex: 1 1 480px; min-width: 0; max-width: 100%}
.row img.plot {max-width: 100%}
.mistakes {display: flex; flex-wrap: wrap; gap: .8em}
figure {margin: 0; width: 120px; font-size: 12px; line-height: 1.3;
  overflow-wrap: anywhere}
pre {background: #f6f6f6; padding: 1em; overflow-x: auto; font-size: 12px}
.note {color: #666}
"""


def page(runs: Sequence[RunLog], results: Sequence[Predictions | str]) -> str:
    """The page.

    Args:
        runs: The runs, side by side.
        results: The predictions of each, or why there are none.
    """
    title = 'Training report: ' + ', '.join(run.name for run in runs)
    sections = [
        _section('Results, sizes and times', _table(runs, results)),
        _section(
            'Loss and accuracy',
            _row([_plot(loss_plot(runs)), _plot(accuracy_plot(runs))]),
        ),
        _section('Branches and scales', _row(_branches(runs, results))),
        _section('Predictions of the last checkpoint', _row(_predictions(runs, results))),
        _section('Settings', _settings(runs)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>{escape(title)}</title><style>{STYLE}</style></head>\n'
        f'<body><h1>{escape(title)}</h1>\n{"".join(sections)}</body></html>\n'
    )


def _section(title: str, content: str) -> str:
    return f'<h2>{title}</h2>\n{content}\n' if content else ''


def _row(parts: Iterable[str]) -> str:
    return ''.join(
        ['<div class="row">', *(f'<div>{p}</div>' for p in parts if p), '</div>']
    )


def _plot(svg: str | None, title: str = '') -> str:
    if svg is None:
        return ''
    data = base64.b64encode(svg.encode()).decode()
    heading = f'<h3>{escape(title)}</h3>' if title else ''
    return (
        f'{heading}<img class="plot" alt="plot" src="data:image/svg+xml;base64,{data}">'
    )


def _table(runs: Sequence[RunLog], results: Sequence[Predictions | str]) -> str:
    columns = [_facts(*pair) for pair in zip(runs, results, strict=True)]
    names = dict.fromkeys(name for column in columns for name in column)
    return _html_table(
        ['', *(run.name for run in runs)],
        [[name, *(column.get(name, '') for column in columns)] for name in names],
    )


def _facts(run: RunLog, result: Predictions | str) -> dict[str, str]:
    last = run.train[-1]
    facts = {'folder': str(run.folder)}
    facts['trained'] = f'{last.get("epoch", last["step"])} {run.unit}s'
    for name, value in run.summary.items():
        if name == 'share of all parameters':
            facts['share of all parameters (%)'] = f'{100 * value:.2f}'
        elif name in FILES:
            facts[name] = _file(str(value))
        elif name != 'scales':
            facts[name] = _number(value)
    if not run.summary:
        facts['state'] = 'not finished: there is no summary.json'
    for name, (steps, values) in run.validation_curves().items():
        facts[f'last validation {name}'] = f'{values[-1]:.2f} ({run.unit} {steps[-1]})'
    if isinstance(result, Predictions):
        facts[f'{result.split} accuracy, last checkpoint (%)'] = f'{result.accuracy:.2f}'
    facts['time of all steps (h:min:s)'] = str(
        timedelta(seconds=round(run.training_seconds()))
    )
    facts['last step time (ms)'] = f'{1000 * last.get("time", 0):.1f}'
    if 'memory' in last:
        facts['largest GPU memory (MiB)'] = f'{last["memory"]:,}'
    return facts


def _number(value: object) -> str:
    if isinstance(value, float):
        return f'{value:.2f}'
    return f'{value:,}' if type(value) is int else str(value)


def _file(value: str) -> str:
    """A file's name and size, or why there is none."""
    path = Path(value)
    if not path.is_file():
        return value
    return f'{path.name} ({path.stat().st_size / 2**20:.2f} MiB)'


def _branches(
    runs: Sequence[RunLog], results: Sequence[Predictions | str]
) -> Iterable[str]:
    yield _plot(branches_plot(runs))
    for run, result in zip(runs, results, strict=True):
        yield _plot(scales_plot(run), f'{run.name}: scale of each layer')
        if isinstance(result, Predictions):
            heading = f'{run.name}: active branches of the last checkpoint'
            yield _plot(active_plot(result, run.places), heading)


def _predictions(
    runs: Sequence[RunLog], results: Sequence[Predictions | str]
) -> Iterable[str]:
    for run, result in zip(runs, results, strict=True):
        heading = f'<h3>{escape(run.name)}</h3>'
        if isinstance(result, str):
            yield f'{heading}<p class="note">Left out: {escape(result)}</p>'
            continue
        count = int(result.confusion.sum())
        wrong = count - int(result.confusion.trace())
        yield (
            f'{heading}<p>{result.split} split: {count:,} images, {wrong:,} '
            f'misclassified (accuracy {result.accuracy:.2f} %).</p>'
            f'{_plot(confusion_plot(result))}{_mistakes(result)}'
        )


def _mistakes(result: Predictions) -> str:
    if not result.mistakes:
        return ''
    figures = [
        f'<figure><img alt="" src="data:image/png;base64,{_png(m.picture)}">'
        f'<figcaption>{escape(m.label)}, taken for {escape(m.predicted)} '
        f'({100 * m.score:.0f}&nbsp;%)</figcaption></figure>'
        for m in result.mistakes
    ]
    return (
        f'<h3>{len(figures)} misclassified images, the most confident first, as the '
        f'model sees them</h3><div class="mistakes">{"".join(figures)}</div>'
    )


def _png(picture: Image.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, format='png')
    return base64.b64encode(stream.getvalue()).decode()


def _settings(runs: Sequence[RunLog]) -> str:
    """What differs between the runs, then all settings of each."""
    flat = [dict(_flattened(run.config.to_dict())) for run in runs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    rows = [[name, *(settings.get(name, '') for settings in flat)] for name in names]
    different = [row for row in rows if len(set(row[1:])) > 1]
    table = _html_table(['', *(run.name for run in runs)], different) if different else ''
    heading = '<h3>What differs</h3>' if different else ''
    details = [
        f'<details><summary>{escape(run.name)}: the whole config</summary>'
        f'<pre>{escape(run.config.pretty_text)}</pre></details>'
        for run in runs
    ]
    return f'{heading}{table}{"".join(details)}'


def _flattened(value: Any, name: str = '') -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flattened(item, f'{name}.{key}' if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
        for index, item in enumerate(value):
            yield from _flattened(item, f'{name}.{index}')
    else:
        yield name, str(value)


def _html_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def cells(tag: str, texts: Sequence[str]) -> str:
        return ''.join(f'<{tag}>{escape(text)}</{tag}>' for text in texts)

    body = ''.join(f'<tr>{cells("td", row)}</tr>' for row in rows)
    return f'<table><tr>{cells("th", heading)}</tr>{body}</table>'

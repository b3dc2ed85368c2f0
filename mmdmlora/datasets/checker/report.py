"""The outcome of a check as text and as JSON."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from .check import SplitReport
from .layouts import LAYOUTS

SHOWN = 5
WIDTH = 88


def as_text(reports: Sequence[SplitReport], fast: bool = False) -> str:
    """A table for each folder of tasks, the faults below it, and what isn't there.

    Args:
        reports: The reports.
        fast: Whether the images were left out. Defaults to False.
    """
    sections: dict[tuple[str, str], list[SplitReport]] = {}
    for report in reports:
        sections.setdefault((report.benchmark, report.parent), []).append(report)
    lines: list[str] = []
    for (benchmark, parent), members in sections.items():
        lines += [f'{benchmark} in {parent}', *_table(members), '']
        explained = [line for report in members for line in _explain(report)]
        lines += [*explained, ''] if explained else []
    for benchmark, tasks in missing_tasks(reports).items():
        source = next(x.source for x in LAYOUTS if x.benchmark == benchmark)
        absent = f'Not there, of {benchmark}: {", ".join(tasks)}. Get them from {source}.'
        lines += [*textwrap.wrap(absent, WIDTH, break_on_hyphens=False), '']
    text = '\n'.join([*lines, _conclude(reports, fast)])
    # Names that are no UTF-8 must not stop the report.
    return text.encode('utf-8', 'backslashreplace').decode('utf-8')


def as_json(reports: Sequence[SplitReport]) -> dict:
    """The reports, the tasks that are not there, and the verdict."""
    return {
        'ok': all(report.ok for report in reports),
        'splits': [{'ok': report.ok, **asdict(report)} for report in reports],
        'missing_tasks': missing_tasks(reports),
    }


def missing_tasks(reports: Sequence[SplitReport]) -> dict[str, list[str]]:
    """The tasks that a benchmark has and the disk hasn't, where others of it are."""
    missing = {}
    for layout in LAYOUTS:
        found = {r.task for r in reports if r.benchmark == layout.benchmark}
        absent = [t.folder for t in layout.tasks if t.folder not in found]
        if found and absent:
            missing[layout.benchmark] = absent
    return missing


def _table(reports: Sequence[SplitReport]) -> list[str]:
    """The rows of task, split, numbers of images and status, in columns."""
    rows = [('task', 'split', 'found', 'expected', 'status')]
    previous = None
    for report in reports:
        task = report.task if report.task != previous else ''
        previous = report.task
        rows.append(
            (
                task,
                report.split,
                _number(report.found),
                _number(report.expected),
                _status(report),
            )
        )
    task_width, split_width = (max(len(row[i]) for row in rows) for i in (0, 1))
    return [
        f'  {task:<{task_width}}  {split:<{split_width}}  {found:>8}  {expected:>8}  '
        f'{status}'
        for task, split, found, expected, status in rows
    ]


def _number(value: int | None) -> str:
    return '-' if value is None else f'{value:,}'


def _status(report: SplitReport) -> str:
    if report.ok:
        return 'ok'
    if report.found is None:
        return 'ERROR: list'
    parts = ['count'] if report.errors else []
    if report.bad_images:
        parts.append(_images(len(report.bad_images)))
    return f'ERROR: {", ".join(parts)}'


def _explain(report: SplitReport) -> list[str]:
    """The faults and notes of a split, one paragraph each."""
    name = f'{report.task} {report.split}'
    lines = [f'ERROR {name}: {error}' for error in report.errors]
    for fault, count in Counter(report.bad_images.values()).items():
        files = [path for path, what in report.bad_images.items() if what == fault]
        lines.append(f'ERROR {name}: {_images(count)}: the file {fault}:')
        lines += [f'    {path}' for path in files[:SHOWN]]
        if files[SHOWN:]:
            lines.append(f'    ... and {len(files) - SHOWN:,} others (--json lists them)')
    return [*lines, *(f'note  {name}: {note}' for note in report.notes)]


def _images(count: int) -> str:
    return f'{count:,} image{"" if count == 1 else "s"}'


def _conclude(reports: Sequence[SplitReport], fast: bool) -> str:
    faulty = [report for report in reports if not report.ok]
    listed = sum(report.found or 0 for report in reports)
    opened = ', which were not opened' if fast else ''
    verdict = f'{len(faulty)} to be mended' if faulty else 'all is well'
    return f'{len(reports)} splits, {_images(listed)}{opened}: {verdict}.'

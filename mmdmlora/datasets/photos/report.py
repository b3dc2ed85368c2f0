"""The outcome of a check of photos as text."""

from __future__ import annotations

from .check import PhotoReport
from .splits import plural

MANY = 30


def photos_as_text(report: PhotoReport, fast: bool = False) -> str:
    """A table of the classes, what must be mended, and what is worth knowing.

    Args:
        report (PhotoReport): The report.
        fast (bool): Whether the images weren't opened. Defaults to False.
    """
    counts = report.counts()
    total = sum(sum(split.values()) for split in counts.values())
    opened = ', which were not opened' if fast else ''
    faults = report.faults()
    verdict = f'{len(faults)} to be mended' if faults else 'all is well'
    lines = [
        f'Photos in {report.tree.root}',
        *_table(counts),
        '',
        *(f'ERROR {fault}' for fault in faults),
        *(f'note  {note}' for note in report.notes),
        '',
        f'{len(report.tree.classes)} classes, {total:,} {plural("image", total)}{opened}'
        f': {verdict}.',
    ]
    # Names that are no UTF-8 must not stop the report.
    return '\n'.join(lines).encode('utf-8', 'backslashreplace').decode('utf-8')


def _table(counts: dict[str, dict[str, int]]) -> list[str]:
    """A row for each class, up to 30, with a column for each split."""
    kinds = sorted({kind for split in counts.values() for kind in split})
    width = max(map(len, ['class', *kinds[:MANY]]))
    heads = list(counts) if len(counts) > 1 else ['images']
    rows = [[f'{"class":<{width}}', *(f'{head:>7}' for head in heads)]]
    for kind in kinds[:MANY]:
        numbers = [f'{split.get(kind, 0):>7,}' for split in counts.values()]
        rows.append([f'{kind:<{width}}', *numbers])
    rest = [f'  ... and {len(kinds) - MANY} others'] if kinds[MANY:] else []
    return [*('  ' + '  '.join(row) for row in rows), *rest]

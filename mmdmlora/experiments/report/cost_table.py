"""The table of training time and memory, the paper's Table 6."""

from __future__ import annotations

from collections.abc import Sequence

from ..outcome import accuracy, averages
from ..paper import paper_number
from .cells import (
    MISSING,
    Grid,
    beside_paper,
    heading,
    labels,
    num_seeds,
    seconds,
    seconds_per_epoch,
    step_bytes,
)
from .lines import REFERENCE, Line, Value

MIB = 2**20


def costs(lines: Sequence[Line]) -> Grid:
    """Time, memory and accuracy, each the mean of the groups' means.

    The paper's memory is what the GPU's memory held in all, and so isn't set beside that
    of a step.
    """
    measures: list[tuple[str, Value, int]] = [
        ('seconds per epoch', seconds_per_epoch, 2),
        ('seconds', seconds, 1),
        ('accuracy', accuracy, 1),
    ]
    titles, names = labels(lines)
    header = [*titles, *(heading(column, lines, column) for column, *_ in measures)]
    header += [f'epoch / epoch of {REFERENCE}', 'the same in the paper']
    header += ['step memory (MiB)', 'seeds']
    rows = []
    for line, name in zip(lines, names, strict=True):
        cells = [
            beside_paper(line, column, line.averages(value).overall, digits)
            for column, value, digits in measures
        ]
        memory = line.averages(step_bytes).overall
        cells.append(_ratio(line))
        cells.append(_paper_ratio(line))
        cells.append(f'{memory.mean / MIB:,.1f}' if memory else MISSING)
        rows.append([*name, *cells, num_seeds([line])])
    return Grid('Time, memory and test top-1 (%), averages', header, rows)


def _ratio(line: Line) -> str:
    """The mean time of an epoch as a multiple of LoRA's."""
    own = line.averages(seconds_per_epoch).overall
    lora = line.outcomes if line.row == REFERENCE else line.reference
    reference = averages(lora, seconds_per_epoch, line.tasks).overall
    return f'{own.mean / reference.mean:.3f}' if own and reference else MISSING


def _paper_ratio(line: Line) -> str:
    column = 'seconds per epoch'
    own = line.paper(column)
    reference = paper_number(line.table, line.backbone, REFERENCE, column)
    return f'{own / reference:.3f}' if own and reference else MISSING

"""Writing a report into a folder."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from mmdmlora.io.atomic import atomic_write

from ..claims import Claim
from ..outcome import Outcome
from ..statistics import ALL_FLIPS_UP_TO, DRAWN_FLIPS, SIGNIFICANT
from .cells import BETTER, MISSING, WORSE
from .curves import curves, times
from .document import code_block, html_page, markdown_table
from .lines import REFERENCE, Line, lines_of
from .maps import scales, scatters
from .records import csv_text
from .style import Picture
from .tables import claims_grid, grids

DPI = 150
TITLES = dict(
    table1='Table 1: dispersion of the branches',
    table3='Table 3: backbones and methods',
    table4='Table 4: self-supervised backbones',
    table5='Table 5: fractions of the training set',
    table6='Table 6: time and memory',
    table7='Table 7: settings of the pruning',
    fig2='Figure 2: few-shot learning',
    study='The study: when does DMLoRA beat LoRA?',
)
_NOTES = f"""\
- Numbers are means over the seeds, ± the sample standard deviation over them. The number
  of seeds stands beside them. "Avg" is the mean of the groups' means, taken for
  each seed first. A mean is only given over seeds that have all of its tasks.
- Ours / paper / difference: the difference is left out ({MISSING}) where ours isn't the
  mean of the same tasks.
- Search runs: how many runs the settings of a task were chosen from. Where the choice is
  the lowest or highest value of at least three, a wider space may hold a better one: a
  table says for how many tasks.
- {BETTER} and {WORSE}: better and worse than {REFERENCE} with p < {SIGNIFICANT}. The
  test flips the signs of the paired differences over tasks and seeds: all flips up to
  {ALL_FLIPS_UP_TO} pairs, else {DRAWN_FLIPS:,} drawn ones. It speaks of these tasks only;
  the number of tasks whose mean difference has the same sign stands beside it. p isn't
  corrected for the number of comparisons.
"""
_TABLE_NOTES = dict(
    table1='The range depends on the perplexity of t-SNE and grows with the number of '
    'points alone. Read it beside the null: branches as far from their mean, in random '
    'directions.',
    table6='The paper measured times on one RTX 4090 and counts up to the best result; '
    'ours are those of whole runs on the machine of the runs. Step memory is what a step '
    'needs beside the weights; the paper gives the whole memory (12.33 GB for '
    'DMLoRA-LS).',
)


def write_report(
    outcomes: Sequence[Outcome],
    folder: str | Path,
    title: str,
    protocol: str,
    commands: Sequence[str],
    claims: Sequence[Claim],
) -> Path:
    """Write ``report.md``, ``report.html``, ``<table>.csv`` and ``plots/*.png``.

    ``report.html`` holds its plots and needs no other file. Plots and tables of an
    earlier report are replaced or removed.

    Args:
        outcomes (Sequence[Outcome]): The finished runs.
        folder (str | Path): Where the files go.
        title (str): The title.
        protocol (str): The protocol in words, as Markdown.
        commands (Sequence[str]): The commands that gave the outcomes.
        claims (Sequence[Claim]): What
            :func:`~mmdmlora.experiments.claims.check_claims` found.

    Returns:
        Path: ``report.html``.

    Raises:
        ValueError: If a line of a table has a task and a seed twice.
        MissingExtraError: If matplotlib or markdown-it-py isn't installed.
        OSError: If a file can't be written.
    """
    folder = Path(folder)
    blocks = lines_of(outcomes)
    rows = [outcome.row for outcome in outcomes]
    parts = [f'# {title}', protocol, '## The claims of the paper']
    if any(claim.numbers for claim in claims) or not outcomes:
        parts.append(markdown_table(claims_grid(claims)))
    else:
        parts.append('None of them is about these runs.')
    parts += ['## Reading the tables', _NOTES]
    pictures: dict[str, bytes] = {}
    last_table = ''
    for (table, backbone), lines in blocks.items():
        if table != last_table:
            parts.append(f'## {TITLES.get(table, table)}')
            parts += filter(None, [_TABLE_NOTES.get(table)])
            last_table = table
        parts.append(f'### {backbone}')
        for grid in grids(lines):
            parts += [f'**{grid.title}**', markdown_table(grid)]
        for picture in _pictures(lines, rows):
            address = f'plots/{picture.name}.png'
            pictures[address] = _png(picture)
            parts += [f'![{picture.caption}]({address})', f'*{picture.caption}*']
    if not blocks:
        parts.append('No run has finished yet.')
    parts += ['## Commands', code_block(commands)]
    text = '\n\n'.join(part.strip() for part in parts) + '\n'
    files = dict(pictures)
    for table in dict.fromkeys(table for table, _ in blocks):
        its = [line for key, lines in blocks.items() if key[0] == table for line in lines]
        files[f'{table}.csv'] = csv_text(its).encode()
    files['report.md'] = text.encode()
    files['report.html'] = html_page(title, text, pictures).encode()
    for name, content in files.items():
        with atomic_write(folder / name) as stream:
            stream.write(content)
    _remove_earlier(folder, files)
    return folder / 'report.html'


def _remove_earlier(folder: Path, files: Collection[str]) -> None:
    """Remove the plots and tables of an earlier report that this one doesn't have."""
    tables = [folder / f'{table}.csv' for table in TITLES]
    for file in [*folder.glob('plots/*.png'), *tables]:
        if file.relative_to(folder).as_posix() not in files:
            file.unlink(missing_ok=True)


def _pictures(lines: Sequence[Line], rows: Sequence[str]) -> list[Picture]:
    """All plots that there is data for."""
    name = re.sub(r'\W+', '-', f'{lines[0].table}-{lines[0].backbone}').lower()
    return [
        *curves(lines, rows, name),
        *times(lines, rows, name),
        *scales(lines, name),
        *scatters(lines, name),
    ]


def _png(picture: Picture) -> bytes:
    stream = io.BytesIO()
    picture.figure.savefig(stream, format='png', dpi=DPI)
    return stream.getvalue()

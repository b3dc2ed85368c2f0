"""The tables of docs/messages.md, filled with what the code says today.

python -m tests.test_reliability.page

writes them again; test_page.py fails where they differ.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.test_reliability import bad_data, bad_input, bad_resumes, hostile_files

PAGE = Path(__file__).parents[2] / 'docs' / 'messages.md'

# What is tried -> a function that tries it in an empty folder, checks that nothing was
# damaged, and returns the message that the user reads.
Cases = dict[str, Callable[[Path], str]]
TABLES: dict[str, Cases] = {
    'hostile files': hostile_files.CASES,
    'bad input': bad_input.CASES,
    'bad data': bad_data.CASES,
    'another run': bad_resumes.CASES,
}
# What Markdown would read as its own, and how it is written.
MARKDOWN = {'|': '&#124;', '<': '&lt;', '__': r'\_\_'}
HEADER = ('| what is tried | what the user reads |', '|---|---|')


def row(title: str, case: Callable[[Path], str], folder: Path) -> str:
    """A line of a table; the folder's own name stands as ``...``."""
    message = ' '.join(case(folder).replace(str(folder), '...').split())
    for text, written in MARKDOWN.items():
        message = message.replace(text, written)
    return f'| {title} | {message} |'


def rows_on_page(table: str) -> list[str]:
    """The lines of a table that stand on the page."""
    text = re.search(_pattern(table), PAGE.read_text(), re.DOTALL)[2]
    return text.strip().splitlines()[len(HEADER) :]


def _pattern(table: str) -> str:
    return rf'(<!-- {table} -->\n)(.*?)(<!-- end of {table} -->)'


def write() -> None:
    """Fill all tables of the page."""
    text = PAGE.read_text()
    for table, cases in TABLES.items():
        lines = list(HEADER)
        for title, case in cases.items():
            with tempfile.TemporaryDirectory() as folder:
                lines.append(row(title, case, Path(folder)))
        content = '\n'.join(lines) + '\n'
        text = re.sub(
            _pattern(table),
            lambda match, content=content: match[1] + content + match[3],
            text,
            flags=re.DOTALL,
        )
    PAGE.write_text(text)


if __name__ == '__main__':
    write()

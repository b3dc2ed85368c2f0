"""A report as Markdown, and as one HTML page that holds its pictures."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence

from mmdmlora._requirements import extra

from .cells import Grid

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem;
  padding: 0 1rem 3rem; color: #222; background: #fff; }}
h1 {{ line-height: 1.2; }}
h2 {{ border-bottom: 1px solid #ccc; margin-top: 2.5rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 0.875rem; margin: 0.5rem 0; }}
th, td {{ border-bottom: 1px solid #ddd; padding: 0.3rem 0.6rem; text-align: left;
  vertical-align: top; font-variant-numeric: tabular-nums; }}
th {{ background: #f3f3f3; }}
th:first-child, td:first-child {{ min-width: 7rem; }}
tr:hover td {{ background: #f8f8f8; }}
pre {{ overflow-x: auto; background: #f3f3f3; padding: 0.7rem; }}
img {{ display: block; max-width: 100%; min-width: min(100%, 30rem); height: auto; }}
.wide img {{ min-width: 40rem; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def markdown_table(grid: Grid) -> str:
    """A table in Markdown."""
    rows = [grid.header, ['---'] * len(grid.header), *grid.rows]
    return '\n'.join(f'| {" | ".join(map(_escape, cells))} |' for cells in rows)


def code_block(lines: Iterable[str]) -> str:
    """Commands in Markdown."""
    return '\n'.join(['```bash', *lines, '```'])


def html_page(title: str, markdown: str, pictures: Mapping[str, bytes]) -> str:
    """One page that needs no other file.

    Args:
        title (str): The title of the page.
        markdown (str): The text.
        pictures (Mapping[str, bytes]): The PNG behind each address of a picture.

    Raises:
        MissingExtraError: If markdown-it-py isn't installed.
    """
    with extra('experiments'):
        from markdown_it import MarkdownIt

    parser = MarkdownIt('commonmark', {'html': False}).enable('table')
    tokens = parser.parse(markdown)
    for token in _images(tokens):
        picture = pictures[token.attrs['src']]
        data = base64.b64encode(picture).decode()
        token.attrs['src'] = f'data:image/png;base64,{data}'
    body = parser.renderer.render(tokens, parser.options, {})
    body = body.replace('<table>', '<div class="scroll"><table>')
    body = body.replace('</table>', '</table></div>')
    body = body.replace('<p><img', '<p class="scroll wide"><img')
    return _PAGE.format(title=html.escape(title), body=body)


def _images(tokens: Sequence) -> Iterable:
    for token in tokens:
        if token.type == 'image':
            yield token
        yield from _images(token.children or ())


def _escape(cell: str) -> str:
    """A cell that no character of Markdown changes."""
    return re.sub(r'[\\|*_\[`]|<(?=[a-zA-Z/!?])', r'\\\g<0>', cell)

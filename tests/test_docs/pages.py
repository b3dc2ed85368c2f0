"""The pages of the documentation: their links, anchors and blocks of code."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.imports import ROOT

PAGES = sorted(
    [
        *(ROOT / name for name in ('README.md', 'CHANGELOG.md', 'CONTRIBUTING.md')),
        *(ROOT / 'docs').rglob('*.md'),
        *(ROOT / 'configs').rglob('README.md'),
    ]
)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def tokens(page: Path) -> list[Token]:
    """The page's tokens; those inside of paragraphs, headings and cells stand behind."""
    found = []
    for token in MarkdownIt('commonmark').enable('table').parse(page.read_text()):
        found += [token, *(token.children or ())]
    return found


def links(page: Path) -> list[str]:
    """Where links and images lead, but for those to the web."""
    targets = [t.attrs.get('href') or t.attrs.get('src') for t in tokens(page)]
    return [str(x) for x in targets if x and not re.match(r'[a-z]+:', str(x))]


@cache
def anchors(page: Path) -> set[str]:
    """The anchors that GitHub, and the site alike, give to the headings."""
    seen: Counter[str] = Counter()
    found = set()
    for before, token in zip(tokens(page), tokens(page)[1:], strict=False):
        if before.type != 'heading_open':
            continue
        text = ''.join(child.content for child in token.children or ())
        slug = re.sub(r'[^\w\- ]', '', text.lower()).replace(' ', '-')
        found.add(f'{slug}-{seen[slug]}' if seen[slug] else slug)
        seen[slug] += 1
    return found


def blocks(page: Path, language: str) -> list[str]:
    """Blocks of a language; ``bash`` includes indented ones that are commands."""
    found = []
    for token in tokens(page):
        is_command = re.match(r'(mmdmlora|python|torchrun|bash) ', token.content)
        is_indented = token.type == 'code_block' and is_command and language == 'bash'
        if is_indented or token.type == 'fence' and token.info.strip() == language:
            found.append(token.content)
    return found


def command_lines(script: str) -> Iterator[str]:
    """The lines of a script: joined, loops written out, without here-documents."""
    script = re.sub(r"<<'(\w+)'\n.*?^\1$", '', script, flags=re.DOTALL | re.MULTILINE)
    script = re.sub(
        r'^for (\w+) in (.*?); do\n(.*?)^done$',
        lambda loop: ''.join(
            re.sub(rf'"?\${loop[1]}\b"?', value.strip('"'), loop[3])
            for value in re.findall(r'"[^"]*"|\S+', loop[2])
        ),
        script.replace('\\\n', ' '),
        flags=re.DOTALL | re.MULTILINE,
    )
    for line in script.splitlines():
        yield from filter(None, re.split(r'\s*(?:&&|&$)\s*', line.strip()))

"""The commands of the pages: which of ours they start, with which arguments."""

from __future__ import annotations

import re
import shlex

from tests.test_docs.pages import PAGES, blocks, command_lines

# What a launcher's script takes before the arguments of a command of ours.
SCRIPTS = {
    'tools/dist_train.sh': ('train', 'CONFIG PROCESSES'),
    'tools/dist_test.sh': ('test', 'CONFIG CHECKPOINT PROCESSES'),
    'tools/slurm_train.sh': ('train', 'PARTITION JOB CONFIG'),
}
NAMES = {'browse_data': 'browse', 'convert_backbone': 'convert'}


def lines_of_pages() -> list[str]:
    """Each command of the pages once, in their order, without its comment."""
    scripts = (script for page in PAGES for script in blocks(page, 'bash'))
    lines = (
        ' '.join(re.sub(r' #.*', '', line).split())
        for script in scripts
        for line in command_lines(script)
    )
    return list(dict.fromkeys(lines))


def words_of(line: str) -> list[str]:
    """The words of a command, without variables before it and brackets of a usage."""
    line = re.sub(r' \[(--[^\]]*)\]', r' \1', line)
    words = shlex.split(line, comments=True)
    while words and re.match(r'[A-Z_]+=', words[0]):
        words = words[1:]
    return words


def ours(words: list[str]) -> tuple[str, list[str]] | None:
    """The command of ours that a line starts, and its arguments."""
    start = words[0]
    if start == 'torchrun' and '-m' in words:
        start, words = 'mmdmlora', words[words.index('-m') + 1 :]
    if start == 'mmdmlora':
        return words[1], words[2:]
    if start == 'bash':
        command, usage = SCRIPTS[words[1]]
        given = dict(zip(usage.split(), words[2:], strict=False))
        assert len(given) == len(usage.split()), f'{words[1]} takes {usage}'
        taken = [given[x] for x in ('CONFIG', 'CHECKPOINT') if x in given]
        return command, [*taken, *words[2 + len(given) :]]
    if start == 'python' and (tool := re.fullmatch(r'tools/(\w+)\.py', words[1])):
        command = NAMES.get(tool[1], tool[1].replace('_', '-'))
        return command, words[2:]
    return None

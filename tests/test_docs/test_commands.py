"""Every command of the pages is taken by the parser of what it starts."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from mmdmlora.apis.compose import load_config
from mmdmlora.apis.locations import find_config
from mmdmlora.apis.option_check import check_options
from mmdmlora.cli import COMMANDS
from mmdmlora.cli.photo_arguments import check_photo_arguments
from tests.imports import ROOT
from tests.test_docs.commands import lines_of_pages, ours, words_of
from tests.test_docs.pages import PAGES, blocks, command_lines, name_of, tokens

# The first words of commands that have no parser here, and why.
OTHERS = {
    'pip install': 'installs packages',
    'python3 -m venv': 'makes an environment',
    '. .venv/bin/activate': 'enters an environment',
    'pre-commit install': 'another program',
    'python -m pytest': 'another program',
    'python -m timeit': 'another program',
    'python -c': 'code, not options',
    'python -': 'code, not options',
    'python -m tests.test_reliability.page': 'takes no options',
    'python tools/pretrain_vit_tiny': 'its parser is in a script, see tests/test_tools',
    'mim train': "needs OpenMIM; the toolbox's own parser",
    'mim test': "needs OpenMIM; the toolbox's own parser",
    'head=$(hostname)': 'the shell',
    'sleep 20': 'the shell',
    'srun': 'needs Slurm',
}


@cache
def parser_of(command: str) -> ArgumentParser:
    assert command in COMMANDS, f'there is no command {command!r}'
    parser = ArgumentParser(prog=command)
    module = import_module(f'mmdmlora.cli.{command.replace("-", "_")}')
    module.add_arguments(parser)
    return parser


def parse(line: str) -> Namespace | None:
    """Parse a line; None where it starts something of :data:`OTHERS`."""
    words = words_of(line)
    if not words:
        return None
    chosen = ours(words)
    if chosen is None:
        assert any(line.startswith(start) for start in OTHERS), f'unknown: {line}'
        return None
    command, arguments = chosen
    args = parser_of(command).parse_args(arguments)
    if command == 'train':
        check_photo_arguments(args)
    if name := getattr(args, 'config', None):
        check_config(name, getattr(args, 'cfg_options', None))
    return args


def check_config(name: str, options: dict | None) -> None:
    """Compose a config, unless its name is a placeholder or the file of a run."""
    if not re.fullmatch(r'(configs/)?[a-z][\w./-]*_[\w-]+(\.py)?', name):
        assert re.match(r'[A-Z]+\b|work_dirs/|configs/(<method>|examples)/', name), name
        return
    config = load_config(find_config(ROOT / name if '.py' in name else name))
    check_options(config, options or ())


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_commands_parse(page: Path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    faults = []
    for script in blocks(page, 'bash'):
        for line in command_lines(script):
            try:
                parse(line)
            except (AssertionError, ValueError, SystemExit) as error:
                faults.append(f'{line}: {error} {capsys.readouterr().err[-300:]}')
    assert not faults, '\n'.join(faults)


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_configs_that_the_text_names_compose(page: Path):
    text = '\n'.join(token.content for token in tokens(page))
    names = re.findall(r'\bconfigs/[\w-]+/[\w-]+_[\w-]+\.py', text)
    names += re.findall(r'mmdmlora (?:train|search) ([a-z]+/[\w./-]+_[\w-]+)', text)
    for name in {*names}:
        check_config(name, None)


@pytest.mark.parametrize(
    'line',
    [
        'mmdmlora train dmlora/vit-tiny_digits --resum-from x',
        'mmdmlora train dmlora/vit-tiny_digit',
        'mmdmlora train dmlora/vit-tiny_digits --cfg-options num_classes=3',
        'mmdmlora train --data photos --launcher pytorch',
        'mmdmlora trian dmlora/vit-tiny_digits',
        'mmdmlora export RUN --to tensorrt',
        'bash tools/dist_train.sh configs/dmlora/vit-tiny_digits.py',
        'python tools/train.py CONFIG [--none]',
        'torchrun --nproc_per_node=2 -m mmdmlora train lora/x_digits --launcher pytorch',
        'rm -r x',
    ],
)
def test_wrong_commands_are_seen(line, capsys):
    with pytest.raises((AssertionError, ValueError, SystemExit)):
        parse(line)


def test_scripts_are_read_line_by_line():
    script = (
        'for a in "" "--x y"; do\n    run $a \\\n  b\ndone\n'
        "one && two &\npython - <<'END'\nprint(1)\nEND\n"
    )
    lines = [' '.join(line.split()) for line in command_lines(script)]
    assert lines == ['run b', 'run --x y b', 'one', 'two', 'python -']


def test_every_reason_is_needed():
    lines = lines_of_pages()
    assert [s for s in OTHERS if not any(x.startswith(s) for x in lines)] == []

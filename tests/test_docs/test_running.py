"""The commands of the pages are run, made short, but for those listed with a reason."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from shutil import copyfile

import pytest

from mmdmlora.cli import main
from tests.imports import ROOT
from tests.photo_kinds import make_tree
from tests.test_docs.commands import lines_of_pages, ours, words_of

# Commands that are not run here, as regular expressions, and why.
NOT_HERE = {
    r'pip |python3 -m venv|\. \.venv|pre-commit': 'sets up an environment',
    r'.*python -m (pytest|tests\.)': 'these tests, and what they compare',
    r'python -$': 'code of a here-document',
    r'python tools/pretrain_vit_tiny': 'takes hours; tests/test_tools runs it small',
    r'.*(/vit-b16_vtab|VTAB1k)': 'needs data and weights',
    r'.*--(backbone|weights)[ =](dinov2-s14|FILE)': 'needs weights',
    r'python tools/check_data': 'needs data; tests/test_apis/test_check_tool.py',
    r'.*skip_corrupt': 'needs data with files that cannot be read',
    r'.*--batch 64 --steps 50': 'needs a GPU',
    r'.*--end-to-end': 'takes minutes; tests/test_apis/test_benchmark runs it small',
    r'mmdmlora search': 'takes minutes; tests/test_experiments runs it small',
    r'.*(red ball|report work_dirs/photos|photos --to (onnx --with|peft))': (
        'tests/test_cli/test_five_commands.py'
    ),
    r'torchrun|bash tools/': 'needs GPUs; tests/test_apis/test_distributed.py',
    r'mim ': 'needs OpenMIM; tests/test_examples runs the configs',
    r'head=|sleep|srun': 'needs Slurm',
}
PLACEHOLDERS = {
    'CONFIG': 'dmlora/vit-tiny_digits',
    '<method>': 'dmlora',
    '<seed>': '0',
    '<lr>': '1e-3',
    '<scale>': '1.0',
    '<interval>': '0.1',
}


def filled_in(words: list[str]) -> list[str]:
    pattern = '|'.join(rf'^{x}$' if x.isupper() else x for x in PLACEHOLDERS)
    return [re.sub(pattern, lambda x: PLACEHOLDERS[x[0]], word) for word in words]


SHORT = (
    *('train_cfg.max_epochs=2', 'param_scheduler.0.end=1', 'param_scheduler.1.begin=1'),
    'train_dataloader.dataset.subset=0.1',
)


def shortened(command: str, arguments: list[str]) -> list[str]:
    """Arguments of a run of seconds; where one is given twice, the later one counts."""
    if '--config-only' in arguments:  # the name belongs to the run of another page
        return [*arguments, '--work-dir', 'work_dirs/config']
    if command == 'train' and '--data' in arguments:
        return [*arguments, '--epochs', '1']
    if command == 'train':
        return [*arguments, '--cfg-options', *SHORT]
    if command == 'benchmark':
        return [*arguments, '--backbone', 'vit-tiny', '--batch', '2', '--steps', '1']
    if command == 'reproduce':  # hours; tests/test_experiments runs it small
        return [*arguments, '--dry-run']
    return arguments


def start(line: str) -> None:
    words = filled_in(words_of(line))
    chosen = ours(words)
    if chosen is None:
        assert words[0] == 'python', f'write down why this is not run: {line}'
        subprocess.run([sys.executable, *words[1:]], check=True)
    else:
        command, arguments = chosen
        try:
            main([command, *shortened(command, arguments)])
        except SystemExit as end:
            if end.code:
                raise


def is_run(line: str) -> bool:
    return not any(re.match(reason, line) for reason in NOT_HERE)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """What the pages take for granted: photos, a data set, the configs."""
    monkeypatch.chdir(tmp_path)
    for name in ('photos', 'my photos', 'other photos'):
        make_tree(tmp_path / name, 10)
    copyfile('photos/red ball/photo 0.jpg', 'new.jpg')
    Path('configs').symlink_to(ROOT / 'configs')
    Path('docs/images').mkdir(parents=True)
    return tmp_path


def test_commands_run(folder):
    # Of lines that differ by a number alone, such as that of a seed, one is enough.
    lines = {re.sub(r'\d', '0', line): line for line in filter(is_run, lines_of_pages())}
    for line in lines.values():
        print(f'$ {line}')
        start(line)


def test_every_reason_is_needed():
    lines = lines_of_pages()
    assert [x for x in NOT_HERE if not any(re.match(x, line) for line in lines)] == []

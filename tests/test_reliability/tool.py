"""Running a tool that must end with a message."""

from __future__ import annotations

import hashlib
import runpy
import sys
from pathlib import Path
from unittest import mock
from uuid import uuid4

import pytest

ROOT = Path(__file__).parents[2]
DMLORA = str(ROOT / 'configs/dmlora/vit-tiny_digits.py')
LORA = str(ROOT / 'configs/lora/vit-tiny_digits.py')
BACKBONE = ROOT / 'mmdmlora/weights/vit-tiny_drawn.safetensors'


def run_tool(name: str, *args: str | Path) -> str:
    """Run a tool that must end with a message, and return that.

    A traceback would be another exception than SystemExit.
    """
    with (
        mock.patch.object(sys, 'argv', [name, *map(str, args)]),
        pytest.raises(SystemExit) as error,
    ):
        runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
    message, _, hint = str(error.value.code).partition('\n(MMDMLORA_TRACEBACK')
    assert message.startswith('error: ') and hint
    return message.removeprefix('error: ')


def train(folder: Path, *options: str, config: str | Path = DMLORA) -> str:
    """Train in ``run`` below a folder, with options for ``--cfg-options``."""
    return run_tool('train.py', config, *run_options(folder, *options))


def run_options(folder: Path, *options: str) -> tuple[str, ...]:
    """What a tool with a Runner is given; its name keeps apart two runs of a second."""
    name = f'experiment_name=run-{uuid4().hex}'
    return f'--work-dir={folder}/run', '--cfg-options', name, *options


def contents(folder: Path) -> dict[str, str]:
    """The files below a folder and what is in them."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }

"""Settings and files that a run can't use, and what its user is told."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).parents[2]
DMLORA = str(ROOT / 'configs/dmlora/vit-tiny_digits.py')


def run_tool(name: str, *args: str) -> str:
    """Run a tool that must end with a message, and return that.

    A traceback would be another exception than SystemExit.
    """
    with (
        mock.patch.object(sys, 'argv', [name, *args]),
        pytest.raises(SystemExit) as error,
    ):
        runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
    message, _, hint = str(error.value.code).partition('\n(MMDMLORA_TRACEBACK')
    assert message.startswith('error: ') and hint
    return message.removeprefix('error: ')


def _train(*options: str, folder: Path) -> str:
    return run_tool(
        'train.py', DMLORA, f'--work-dir={folder}/run', '--cfg-options', *options
    )


def _setting(option: str) -> Callable[[Path], str]:
    """A setting of the embedded task's config that is refused."""
    return lambda folder: _train(option, folder=folder)


CASES = {
    f'`{option}`': _setting(option)
    for option in ('model.backbone.rank=0', 'model.backbone.num_branches=-2')
}

"""Places where nothing can be written, and a disk that is full."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

from tests.test_reliability.bad_checkpoints import _made_with
from tests.test_reliability.tool import (
    BACKBONE,
    DMLORA,
    contents,
    run_tool,
    train,
)


def _refusal(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _work_dir_is_file(folder: Path) -> str:
    (folder / 'run').write_text('notes')
    before = contents(folder)
    message = train(folder)
    assert contents(folder) == before
    return message


def _below_a_file(tool: str, *args: object) -> Callable[[Path], str]:
    """A tool that is to write into a folder that is a file; ``{}`` is its output."""

    def case(folder: Path) -> str:
        (folder / 'notes').write_text('notes')
        torch.save(_made_with()(), folder / 'x.pth')
        before = contents(folder)
        places = {'{}': folder / 'notes' / 'out.pth', 'x.pth': folder / 'x.pth'}
        message = run_tool(tool, *(places.get(str(arg), arg) for arg in args))
        assert contents(folder) == before
        return message

    return case


def _read_only(folder: Path) -> str:
    with mock.patch('tempfile.TemporaryFile', side_effect=_refusal(errno.EROFS)):
        message = train(folder)
    assert not list(folder.iterdir())
    return message


def _full_while_training(folder: Path) -> str:
    """The disk is full when the checkpoint of the second epoch is written."""
    run, sync = folder / 'run', os.fsync

    def fsync(descriptor: int) -> None:
        if list(run.glob('.epoch_2.pth.*')):
            raise _refusal(errno.ENOSPC)
        sync(descriptor)

    with mock.patch('os.fsync', fsync):
        message = train(
            folder, 'train_cfg.max_epochs=4', 'default_hooks.checkpoint.interval=1'
        )
    assert (run / 'last_checkpoint').read_text() == str(run / 'epoch_1.pth')
    torch.load(run / 'epoch_1.pth', weights_only=True)
    assert not (run / 'epoch_2.pth').exists() and not list(run.glob('.epoch*'))
    return message


def _full_while_merging(folder: Path) -> str:
    torch.save(_made_with()(), folder / 'x.pth')
    (folder / 'merged.pth').write_text('an older file')
    before = contents(folder)
    with mock.patch('os.fsync', side_effect=_refusal(errno.EDQUOT)):
        message = run_tool('merge.py', DMLORA, folder / 'x.pth', folder / 'merged.pth')
    assert contents(folder) == before
    return message


def _out_is_a_folder(folder: Path) -> str:
    torch.save(_made_with()(), folder / 'x.pth')
    (folder / 'merged.pth').mkdir()
    before = contents(folder)
    message = run_tool('merge.py', DMLORA, folder / 'x.pth', folder / 'merged.pth')
    assert contents(folder) == before
    return message


CASES = {
    '`--work-dir` is a file': _work_dir_is_file,
    '`--work-dir` on a read-only disk': _read_only,
    'the disk is full in the second epoch': _full_while_training,
    '`tools/merge.py`: OUT below a file': _below_a_file(
        'merge.py', DMLORA, 'x.pth', '{}'
    ),
    '`tools/merge.py`: OUT is a folder': _out_is_a_folder,
    '`tools/merge.py`: the quota is used up': _full_while_merging,
    '`tools/convert_backbone.py`: DST below a file': _below_a_file(
        'convert_backbone.py', BACKBONE, '{}'
    ),
    '`tools/browse_data.py`: `--out` below a file': _below_a_file(
        'browse_data.py', DMLORA, '--out', '{}'
    ),
}

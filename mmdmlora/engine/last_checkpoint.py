"""The file ``last_checkpoint``, and the names of checkpoints."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

from mmdmlora.io import atomic_write, load_checkpoint_file

POINTER = 'last_checkpoint'


def point(pointer: Path, checkpoint: str) -> None:
    """Let ``last_checkpoint`` name a checkpoint, in one step."""
    with atomic_write(pointer) as stream:
        stream.write(checkpoint.encode())


def step_of(name: object, template: str) -> int | None:
    """The epoch or iteration in the name of a last or best checkpoint.

    Args:
        name: A name without a folder.
        template: That of the checkpoint hook, ``epoch_{}.pth``.

    Returns:
        int | None: None if the hook couldn't have given that name.
    """
    before, after = map(re.escape, template.split('{}'))
    own = re.fullmatch(rf'(?:best_[^/]*_)?{before}(\d+){after}', str(name))
    return int(own[1]) if own else None


def repair_pointer(work_dir: Path, folders: Sequence[Path], template: str) -> bool:
    """Let ``last_checkpoint`` name the newest checkpoint that can be loaded.

    Args:
        work_dir: The folder of the pointer.
        folders: Where checkpoints may be, beside the folder of the one that it names.
        template: See :func:`step_of`.

    Returns:
        bool: Whether another one is named now.

    Raises:
        ValueError: If the pointer is there, but no checkpoint that can be loaded.
    """
    pointer = work_dir / POINTER
    if not pointer.is_file():
        return False
    named = pointer.read_text().strip()
    if '://' in named:
        return False
    others = {
        file
        for folder in (*folders, Path(named).parent)
        for file in folder.glob(template.format('*'))
        if step_of(file.name, template) is not None
    }
    newest = sorted(others, key=lambda file: file.stat().st_mtime, reverse=True)
    problems = []
    for file in [named, str(work_dir / Path(named).name), *map(str, newest)]:
        try:
            load_checkpoint_file(file)
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        if file != named:
            print_log(
                f'{pointer} names {named!r}, which can not be loaded: resuming from '
                f'{file!r}, the newest checkpoint that can be.',
                logger='current',
                level=logging.WARNING,
            )
            point(pointer, file)
        return file != named
    raise ValueError(
        f'there is no checkpoint in {str(work_dir)!r} to resume from: '
        f'{" ".join(dict.fromkeys(problems))} Start without --resume, or with '
        'another --work-dir.'
    )

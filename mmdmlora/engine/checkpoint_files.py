"""The checkpoint files of a run: which are its own, which count, which can be loaded."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from mmengine.logging import print_log

from mmdmlora.io import atomic_write, load_checkpoint_file

POINTER = 'last_checkpoint'


class CheckpointFiles:
    """The files whose names follow a template.

    Args:
        filename_tmpl (str): Name of a last checkpoint, with ``{}`` for its epoch or
            iteration. Best ones have ``best_<metric>_`` before it.
    """

    def __init__(self, filename_tmpl: str) -> None:
        self.filename_tmpl = filename_tmpl

    def is_own(self, name: object) -> bool:
        """Whether a checkpoint of the run could have this name."""
        before, after = map(re.escape, self.filename_tmpl.split('{}'))
        return bool(re.fullmatch(rf'(best_[^/]*_)?{before}\d+{after}', str(name)))

    def recorded(self, runtime_info: dict) -> set[str]:
        """Names of the last, best and kept checkpoints in a message hub's entries."""
        paths = [
            path
            for key, path in runtime_info.items()
            if key == 'last_ckpt' or key.startswith('best_ckpt')
        ]
        kept = runtime_info.get('keep_ckpt_ids', [])
        names = [Path(str(path)).name for path in paths]
        names += map(self.filename_tmpl.format, kept)
        return {*filter(self.is_own, names)}

    def not_counting(self, names: Iterable[str], folder: Path, pointer: Path) -> set[str]:
        """Own names that the last checkpoint doesn't know; none if it can't be read."""
        own = {*filter(self.is_own, names)}
        if not pointer.is_file():
            return own
        last = Path(pointer.read_text().strip()).name
        try:
            hub = load_checkpoint_file(folder / last).get('message_hub', {})
        except (ValueError, OSError):
            return set()
        return own - self.recorded(hub.get('runtime_info', {})) - {last}

    def repair_pointer(self, work_dir: Path, out_dir: Path | None) -> None:
        """Let ``last_checkpoint`` name the newest checkpoint that can be loaded.

        Raises:
            ValueError: If the file is there, but no checkpoint that can be loaded.
        """
        pointer = work_dir / POINTER
        if not pointer.is_file():
            return
        named = pointer.read_text().strip()
        if '://' in named:
            return
        folders = [work_dir, Path(named).parent]
        if out_dir is not None:
            folders.append(out_dir / work_dir.resolve().name)
        others = {
            file
            for folder in folders
            for file in folder.glob(self.filename_tmpl.format('*'))
            if self.is_own(file.name)
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
            return
        raise ValueError(
            f'there is no checkpoint in {str(work_dir)!r} to resume from: '
            f'{" ".join(dict.fromkeys(problems))} Start without --resume, or with '
            'another --work-dir.'
        )


def point(pointer: Path, checkpoint: str) -> None:
    """Let ``last_checkpoint`` name a checkpoint."""
    with atomic_write(pointer) as stream:
        stream.write(checkpoint.encode())

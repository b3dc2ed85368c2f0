"""What lies in the folder of a training: its config and its checkpoints."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from mmdmlora.io import WEIGHTS_ENDINGS, expand_home

NUMBERED = re.compile(r'(?:epoch|iter)_(\d+)\.pth')


@dataclass(frozen=True)
class TrainedRun:
    """A checkpoint and the config that it was trained with.

    Attributes:
        config: The config's file.
        checkpoint: The checkpoint's file.
    """

    config: Path
    checkpoint: Path

    def read_config(self) -> Config:
        """Read the config."""
        return Config.fromfile(self.config)


def find_run(place: str | Path, best: bool = False) -> TrainedRun:
    """Find the checkpoint and the config that a user means.

    Args:
        place (str | Path): A training's folder, or a checkpoint. A checkpoint's config
            is the file of the same name with the ending ``.py``, as ``merge`` writes it,
            or else the training's config beside it.
        best (bool): Take the best checkpoint of a folder instead of the last one.
            Defaults to False.

    Raises:
        ValueError: If something is missing or several files could be meant.
    """
    path = expand_home(Path(place))
    if path.is_dir():
        return TrainedRun(_config_of(path), _checkpoint_of(path, best))
    if not path.is_file():
        raise ValueError(
            f"there is no {str(place)!r}: name a training's folder, such as "
            'work_dirs/dmlora/vit-tiny_digits, or a checkpoint in it.'
        )
    if path.suffix not in WEIGHTS_ENDINGS:
        raise ValueError(
            f'{str(place)!r} is no checkpoint: expected a file ending in one of '
            f"{list(WEIGHTS_ENDINGS)}, or a training's folder."
        )
    if best:
        raise ValueError(
            f"{str(place)!r} is one checkpoint: --best goes with a training's folder."
        )
    beside = path.with_suffix('.py')
    return TrainedRun(beside if beside.is_file() else _config_of(path.parent), path)


def _config_of(folder: Path) -> Path:
    configs = [p for p in folder.glob('*.py') if not _is_other(p)]
    if len(configs) == 1:
        return configs[0]
    found = sorted(p.name for p in configs)
    raise ValueError(
        f'{str(folder)!r} has {"several configs" if found else "no config"}'
        f'{f": {found}" if found else ""}. A training writes its config there; keep that '
        'one alone beside the checkpoints.'
    )


def _is_other(config: Path) -> bool:
    """Whether it isn't a training's: one that a test wrote, or a merged model's."""
    weights = [config.with_suffix(ending) for ending in WEIGHTS_ENDINGS]
    return config.stem.endswith('_test') or any(path.is_file() for path in weights)


def _checkpoint_of(folder: Path, best: bool) -> Path:
    if best:
        found = sorted(folder.glob('best_*.pth'), key=lambda p: p.stat().st_mtime)
        remedy = 'Train with save_best, or leave out --best.'
    else:
        pointer = folder / 'last_checkpoint'
        if pointer.is_file():
            named = folder / Path(pointer.read_text(encoding='utf-8').strip()).name
            if named.is_file():
                return named
        numbered = [(m, p) for p in folder.iterdir() if (m := NUMBERED.fullmatch(p.name))]
        found = [p for m, p in sorted(numbered, key=lambda pair: int(pair[0][1]))]
        remedy = 'Train first, or name the checkpoint.'
    if not found:
        kind = 'best checkpoint' if best else 'checkpoint'
        raise ValueError(f'{str(folder)!r} has no {kind}. {remedy}')
    return found[-1]

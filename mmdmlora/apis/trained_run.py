"""What a training has left: its checkpoint, the config beside it, and the model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import set_random_seed
from torch import nn

from mmdmlora.engine.checkpoint_files import POINTER
from mmdmlora.engine.seeding import kept_random_state
from mmdmlora.engine.state_check import check_fits
from mmdmlora.io import (
    WEIGHTS_ENDINGS,
    expand_home,
    install_safe_loaders,
    load_checkpoint,
)
from mmdmlora.registry import MODELS

from .checks import check_files

# What a training names its checkpoints.
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


def find_run(run: str | Path, best: bool = False) -> TrainedRun:
    """Find the checkpoint and the config that a user means.

    Args:
        run (str | Path): See :func:`find_checkpoint`.
        best (bool): The same.

    Raises:
        ValueError: If one of them is missing or several configs could be meant.
    """
    checkpoint = find_checkpoint(run, best)
    return TrainedRun(find_run_config(checkpoint), checkpoint)


def find_checkpoint(run: str | Path, best: bool = False) -> Path:
    """Find the checkpoint that a run's folder means.

    Args:
        run (str | Path): A working directory, or a checkpoint, which means itself.
        best (bool): Take the best on the validation images, not the last. Defaults to
            False.

    Raises:
        ValueError: If there is none.
    """
    path = expand_home(Path(run))
    if path.is_file():
        if best:
            raise ValueError(
                f'the best checkpoint is looked for in a folder, got {str(path)!r}: name '
                'its folder, or that checkpoint itself.'
            )
        return path
    if not path.is_dir():
        raise ValueError(
            f'there is no run {str(path)!r}: name the folder of a training, such as '
            'work_dirs/photos, or a checkpoint in it.'
        )
    if best:
        found = sorted(path.glob('best_*.pth'), key=lambda file: file.stat().st_mtime)
        if not found:
            raise ValueError(
                f'{str(path)!r} has no best_*.pth: it was trained without validation. '
                'Leave the last one to be taken.'
            )
        return found[-1]
    pointer = path / POINTER
    if pointer.is_file():
        named = Path(pointer.read_text().strip())
        # The folder may have been moved since.
        for file in (path / named.name, named):
            if file.is_file():
                return file
    numbered = [(m, p) for p in path.iterdir() if (m := NUMBERED.fullmatch(p.name))]
    if numbered:
        return max(numbered, key=lambda pair: int(pair[0][1]))[1]
    raise ValueError(
        f'{str(path)!r} holds no checkpoint of a training: name the folder with '
        f'{POINTER}, or a checkpoint.'
    )


def find_run_config(checkpoint: Path) -> Path:
    """Find the config beside a checkpoint.

    A merged model has its own, of the same name. Otherwise it is the one that the
    training wrote; those of merged models and of tests are passed over.

    Raises:
        ValueError: If there is none, or several.
    """
    own = checkpoint.with_suffix('.py')
    if own.is_file():
        return own
    files = sorted(checkpoint.parent.glob('*.py'))
    stems = {file.stem for file in files}
    configs = [
        file
        for file in files
        if not any(file.with_suffix(ending).exists() for ending in WEIGHTS_ENDINGS)
        and file.stem.removesuffix('_test') not in stems - {file.stem}
    ]
    if len(configs) == 1:
        return configs[0]
    found = f'got {[file.name for file in configs]}' if configs else 'got none'
    raise ValueError(
        f'there must be one config beside {str(checkpoint)!r}, {found}. Name the one '
        'that it was trained with as config (--config FILE).'
    )


def load_trained(config: Config, checkpoint: str | Path) -> tuple[nn.Module, dict]:
    """Build a config's model with the weights of a checkpoint.

    Args:
        config (Config): The config that the checkpoint was trained with. The model gets
            its ``data_preprocessor``; else it isn't changed, but for ``~`` in paths.
        checkpoint (str | Path): A checkpoint written by training, or by a merge.

    Returns:
        tuple[nn.Module, dict]: The model, and what the checkpoint knows of the data, such
        as ``classes``.

    Raises:
        ValueError: If the backbone's weights or the checkpoint are missing, or the
            checkpoint doesn't fit.
    """
    install_safe_loaders()
    expand_home(config._cfg_dict)
    check_files(Config(dict(model=config.to_dict()['model'])))
    settings = config.to_dict()
    model_settings = settings['model']
    if settings.get('data_preprocessor') is not None:
        model_settings.setdefault('data_preprocessor', settings['data_preprocessor'])
    scope = settings.get('default_scope', 'mmdmlora')
    with DefaultScope.overwrite_default_scope(scope), kept_random_state():
        # A backbone without a checkpoint is random: the Runner's seed makes it the same.
        set_random_seed(settings.get('randomness', {}).get('seed'))
        model = MODELS.build(model_settings)
    loaded = check_complete(model, str(checkpoint))
    model.load_state_dict(loaded['state_dict'])
    return model, loaded.get('meta', {}).get('dataset_meta') or {}


def check_complete(model: nn.Module, checkpoint: str) -> dict:
    """Load a checkpoint and refuse one that doesn't hold what the model trains.

    Raises:
        ValueError: If there is no such file, it is of another kind, or doesn't fit.
    """
    try:
        loaded = load_checkpoint(checkpoint)
    except FileNotFoundError as error:
        raise ValueError(
            f'there is no checkpoint {checkpoint!r}: name one that training has written, '
            'such as work_dirs/.../epoch_60.pth.'
        ) from error
    state = loaded.get('state_dict')
    if state is None:
        raise ValueError(
            f'{checkpoint!r} has no state_dict: name a checkpoint that training has '
            'written.'
        )
    check_fits(model, state, repr(checkpoint))
    return loaded

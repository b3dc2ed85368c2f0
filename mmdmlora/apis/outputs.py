"""What a command is about to write must not be what it, or someone else, needs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdmlora.engine.export import config_beside
from mmdmlora.io import WEIGHTS_ENDINGS

from .checks import check_writable

# What a run writes into its working directory and reads in another one.
RUN_FILES = re.compile(r'(epoch_\d+|iter_\d+|best_.+|merged)\.pth')


def check_output(
    file: str | Path,
    name: str,
    inputs: Iterable[str | Path] = (),
    endings: Sequence[str] = (),
) -> None:
    """Refuse a file that can't be written or is read, before the work for it is done.

    Args:
        file (str | Path): The file. Nothing is left there.
        name (str): What a message calls it.
        inputs (Iterable[str | Path]): The files that are read. They are told apart
            through links and relative paths.
        endings (Sequence[str]): The endings that fit what is written; any if empty. They
            hold for what a link points to, too.

    Raises:
        ValueError: Naming the place and the reason.
    """
    remedy = f'Name another file as {name}.'
    if Path(file).is_dir():
        raise ValueError(f'{str(file)!r} is a folder. {remedy}')
    check_writable(Path(file).parent, remedy)
    for path in dict.fromkeys([str(file), os.path.realpath(file)]):
        if endings and Path(path).suffix not in endings:
            raise ValueError(f'{path!r} must end in one of {list(endings)}. {remedy}')
    for source in inputs:
        if _is_same(file, source):
            raise ValueError(
                f'{str(file)!r} is {str(source)!r}, which is read: it would be lost. '
                f'{remedy}'
            )


def check_outside_data(file: str | Path, name: str, configs: Iterable[Config]) -> None:
    """Refuse a file that exists among the data of some configs.

    Raises:
        ValueError: Naming the file and the folder.
    """
    roots = {root for config in configs for root in _data_roots(config.to_dict())}
    for root in sorted(roots) if os.path.exists(file) else []:
        if Path(os.path.realpath(file)).is_relative_to(os.path.realpath(root)):
            raise ValueError(
                f'{str(file)!r} exists among the data in {root!r}: it would be lost. '
                f'Name another file as {name}.'
            )


def check_merged(out: str | Path, name: str, inputs: Iterable[str | Path]) -> None:
    """Refuse a place for a merged model and its config, see :func:`check_output`.

    Raises:
        ValueError: See :func:`check_output` and
            :func:`~mmdmlora.engine.export.config_beside`.
    """
    beside = config_beside(out)
    inputs = list(inputs)
    check_output(out, name, inputs, WEIGHTS_ENDINGS)
    check_output(beside, name, inputs, ['.py'])


def check_report(file: str | Path, name: str) -> None:
    """Refuse a place for a JSON report where another file stands than such a report.

    Raises:
        ValueError: See :func:`check_output`.
    """
    check_output(file, name, endings=['.json'])
    path = Path(file)
    if path.exists() and not _is_report(path):
        raise ValueError(
            f'{str(file)!r} exists and is no report of this command, perhaps a list of '
            f'the data set. Name another file as {name}.'
        )


def check_run(config: Config) -> None:
    """Refuse a working directory in which the run would write over what it reads.

    mmengine writes the settings of a run there, under the name of the config, and the
    run its checkpoints. A config that mmengine wrote so itself may be used again.

    Raises:
        ValueError: Naming the file.
    """
    folder = config.get('work_dir')
    if not folder:
        return
    remedy = 'Name another folder with --work-dir.'
    if config.filename:
        record = Path(folder) / Path(config.filename).name
        if record.exists() and not _is_record(record):
            raise ValueError(
                f'{str(record)!r} would be replaced by the settings of this run. {remedy}'
            )
    settings = config.to_dict()
    if settings.get('resume'):
        settings.pop('load_from', None)
    sources = named_files(settings) if settings.get('train_cfg') else ()
    for source in sources:
        real = Path(os.path.realpath(source))
        in_folder = real.parent == Path(os.path.realpath(folder))
        if in_folder and RUN_FILES.fullmatch(real.name):
            raise ValueError(
                f'{source!r} lies in the working directory, where this run writes a file '
                f'of that name. {remedy}'
            )


def config_inputs(config: Config) -> list[str]:
    """The config's file and all files that it names: weights, lists, images."""
    own = [config.filename] if config.filename else []
    return [*own, *named_files(config.to_dict())]


def named_files(value: Any) -> Iterator[str]:
    """The existing files among the strings in nested containers."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from named_files(item)
    elif isinstance(value, str) and len(value) < 4096 and os.path.isfile(value):
        yield value


def _data_roots(value: Any) -> Iterator[str]:
    """The folders that are named as ``data_root`` in nested containers."""
    if isinstance(value, dict):
        root = value.get('data_root')
        if isinstance(root, str) and os.path.isdir(root):
            yield root
        value = list(value.values())
    for item in value if isinstance(value, list | tuple) else ():
        yield from _data_roots(item)


def _is_same(file: str | Path, other: str | Path) -> bool:
    if os.path.exists(file) and os.path.exists(other):
        return os.path.samefile(file, other)
    return os.path.realpath(file) == os.path.realpath(other)


def _is_record(path: Path) -> bool:
    """Whether a config is what mmengine writes of it."""
    try:
        config = Config.fromfile(path, import_custom_modules=False)
        return config.pretty_text == path.read_text(encoding='utf-8')
    except Exception:  # a config is code, which may raise anything
        return False


def _is_report(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError:
        return False
    return isinstance(content, dict) and {'ok', 'splits'} <= content.keys()

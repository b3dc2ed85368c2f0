"""Checkpoint loading that never runs code from the file, as mmengine's loaders.

mmengine 0.10.7 writes objects that ``torch.load(weights_only=True)``, the default of a
current PyTorch, refuses; it loads web addresses without that protection; and
``Runner.resume`` and its inferencers execute the configs in a checkpoint as Python. All
of that is mended here, by :func:`install_safe_loaders`. Once upstream does the same, this
file can go except for the checks of sizes, ``.safetensors`` and ``.npz`` files and the
``mmdmlora://`` scheme.
"""

import io
import re
import sys
import tarfile
from collections.abc import Callable
from os import makedirs
from os import path as osp
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlparse

import numpy as np
import safetensors.torch
import torch
from mmengine.dist import barrier, get_rank
from mmengine.runner import checkpoint as stock
from mmengine.runner.checkpoint import CheckpointLoader
from torch.serialization import MAGIC_NUMBER, get_safe_globals

from .inert import inert_globals, name_of, revive
from .pickle_check import SAVE_WEIGHTS, PickleCheck
from .unpacked_size import (
    RefusedFile,
    check_budget,
    check_claim,
    check_npz,
    check_safetensors,
    open_zip,
    size_of,
)

WEIGHTS_DIR = Path(__file__).resolve().parents[1] / 'weights'
MapLocation = str | torch.device | Callable | dict | None


def _check_pickled(stream: BinaryIO) -> None:
    """Refuse what ``torch.load`` should not even begin with."""
    trusted = {name_of(entry) for entry in get_safe_globals()}
    size = size_of(stream)
    check = (
        _check_archive(stream, trusted)
        if stream.read(4) == b'PK\x03\x04'
        else _check_legacy(stream, size, trusted)
    )
    check_budget(
        check.num_bytes,
        size,
        'its tensors and texts take',
        'save .clone() of a tensor that repeats its numbers',
    )
    stream.seek(0)


def _check_archive(stream: BinaryIO, trusted: set[str]) -> PickleCheck:
    with open_zip(stream) as archive:
        records = {info.filename: info.file_size for info in archive.infolist()}
        prefix = next(iter(records), '').partition('/')[0]
        if f'{prefix}/constants.pkl' in records:
            raise RefusedFile(
                'it is a TorchScript archive, which is a program', SAVE_WEIGHTS
            )
        content = archive.read(f'{prefix}/data.pkl')
    check = PickleCheck(trusted).run(io.BytesIO(content))
    if check.protocol > 2:
        raise RefusedFile(
            f'its pickle has the protocol {check.protocol}, and only 2 can be read '
            'without running code',
            'save it without a pickle_protocol',
        )
    for key, num_bytes in check.storages.items():
        check_claim(f'storage {key!r}', num_bytes, records[f'{prefix}/data/{key}'])
    return check


def _check_legacy(stream: BinaryIO, size: int, trusted: set[str]) -> PickleCheck:
    """Check the format of PyTorch before 1.6: five pickles and the numbers."""
    stream.seek(0)
    if tarfile.is_tarfile(stream):
        raise RefusedFile(
            'it has the tar format of the first versions of PyTorch, which can not be '
            'read without running code',
            SAVE_WEIGHTS,
        )
    stream.seek(0)
    if PickleCheck(trusted).run(stream).result != MAGIC_NUMBER:
        raise RefusedFile(
            'it was not written by torch.save but by another program, as a pickle',
            SAVE_WEIGHTS,
        )
    for _ in ('protocol', 'system'):
        PickleCheck(trusted).run(stream)
    check = PickleCheck(trusted).run(stream)
    PickleCheck(trusted).run(stream)
    check_claim('its storage list', sum(check.storages.values()), size - stream.tell())
    return check


def _explain(error: Exception) -> str:
    """One line on what is wrong with a file, without torch's advice to trust it."""
    if isinstance(error, RefusedFile):
        return f'refused, because {error}'
    text = str(error).strip()
    detail = re.search(r'WeightsUnpickler error:\s*(.+)', text)
    reason = detail[1] if detail else text.partition('\n')[0]
    return (
        'it is no checkpoint, or it is cut off or damaged '
        f'({type(error).__name__}: {reason[:200]}). Copy or download it again'
    )


def _read(stream: BinaryIO, path: str, map_location: MapLocation) -> Any:
    is_device = isinstance(map_location, (str, torch.device))
    device = str(map_location) if is_device else 'cpu'
    if path.endswith('.safetensors'):
        check_safetensors(stream)
        return safetensors.torch.load_file(path, device=device)
    if path.endswith('.npz'):
        check_npz(stream)
        with np.load(stream, allow_pickle=False) as arrays:
            return {k: torch.as_tensor(v, device=device) for k, v in arrays.items()}
    _check_pickled(stream)
    with inert_globals():
        checkpoint = torch.load(stream, map_location=map_location, weights_only=True)
    return revive(checkpoint)


def load_checkpoint_file(path: str | Path, map_location: MapLocation = 'cpu') -> dict:
    """Load a checkpoint from a local file without running anything it contains.

    ``.safetensors`` and NumPy's ``.npz`` files give a dict of tensors. Any other file
    goes through ``torch.load(weights_only=True)``; a stock OpenMMLab checkpoint loads
    too, with its history buffers and NumPy values rebuilt from their raw numbers.

    What the file would unpack to is found out before: see
    :func:`~mmdmlora.engine.unpacked_size.check_budget` and
    :class:`~mmdmlora.engine.pickle_check.PickleCheck`.

    Args:
        path (str | Path): The file.
        map_location (str | device | callable | dict, optional): As in ``torch.load``,
            but None means ``'cpu'``. Only a device counts for ``.safetensors`` and
            ``.npz``.

    Returns:
        dict: The checkpoint, without the configs inside: ``meta.config``, ``meta.cfg``
        and ``message_hub.runtime_info.cfg``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file asks for code, unpacks to too much, is damaged or holds
            no dict.

    Note:
        The configs are text that mmengine would execute as Python: ``meta.config`` when
        a training is resumed, the others when an inferencer gets weights and no config.
        An inferencer has to be given a config.
    """
    path = osp.expanduser(str(path))
    if not osp.isfile(path):
        raise FileNotFoundError(f'{path} can not be found.')
    map_location = 'cpu' if map_location is None else map_location
    try:
        with open(path, 'rb') as stream:
            checkpoint = _read(stream, path, map_location)
    except PermissionError:
        raise
    except Exception as error:
        raise ValueError(f'Can not load {path}: {_explain(error)}.') from None
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'Can not load {path}: it holds a {type(checkpoint).__name__}. Save a dict.'
        )
    _drop_configs(checkpoint)
    return checkpoint


def _drop_configs(checkpoint: dict) -> None:
    hub = checkpoint.get('message_hub')
    hub = hub if isinstance(hub, dict) else {}
    for holder, keys in (
        (checkpoint.get('meta'), ('config', 'cfg')),
        (hub.get('runtime_info'), ('cfg',)),
        (hub.get('resumed_keys'), ('cfg',)),
    ):
        for key in keys if isinstance(holder, dict) else ():
            holder.pop(key, None)


def load_from_local(filename: str, map_location: MapLocation = None) -> dict:
    """Load a local file, by default to the CPU and not to the GPU it was saved on."""
    return load_checkpoint_file(filename, map_location)


def load_from_http(filename: str, map_location: MapLocation = None) -> dict:
    """Load a web address through torch.hub's cache; rank 0 downloads first."""
    folder = osp.join(torch.hub.get_dir(), 'checkpoints')
    cached = osp.join(folder, osp.basename(urlparse(filename).path))

    def download_if_absent() -> None:
        if not osp.isfile(cached):
            makedirs(folder, exist_ok=True)
            progress = sys.stderr.isatty()
            torch.hub.download_url_to_file(filename, cached, progress=progress)

    if get_rank() == 0:
        download_if_absent()
    barrier()
    download_if_absent()
    return load_checkpoint_file(cached, map_location)


def _look_up(filename: str, known: dict) -> str:
    name = filename.split('://', 1)[1]
    if name not in known:
        raise ValueError(f'{filename}: no such name. Choose from {sorted(known)}.')
    return known[name]


def load_from_torchvision(filename: str, map_location: MapLocation = None) -> dict:
    url = _look_up(filename, stock.get_torchvision_models())
    return load_from_http(url, map_location)


def load_from_mmcls(filename: str, map_location: MapLocation = None) -> dict:
    checkpoint = load_from_http(
        _look_up(filename, stock.get_mmcls_models()), map_location
    )
    return stock._process_mmcls_checkpoint(checkpoint)


def load_from_openmmlab(filename: str, map_location: MapLocation = None) -> dict:
    """Load a model of mmengine's list, whose entries are addresses or local files."""
    scheme, name = filename.split('://', 1)
    name = stock.get_deprecated_model_names().get(name, name)
    target = _look_up(f'{scheme}://{name}', stock.get_external_models())
    if target.startswith(('http://', 'https://')):
        return load_from_http(target, map_location)
    return load_checkpoint_file(
        osp.join(stock._get_mmengine_home(), target), map_location
    )


def load_from_mmdmlora(filename: str, map_location: MapLocation = None) -> dict:
    """Load ``mmdmlora://<name>``: ``mmdmlora/weights/<name>.safetensors``."""
    known = {file.stem: file for file in WEIGHTS_DIR.glob('*.safetensors')}
    return load_checkpoint_file(_look_up(filename, known), map_location)


def install_safe_loaders() -> None:
    """Replace mmengine's loaders, for the whole process, by the ones of this file.

    ``pavi://``, ``s3://`` and ``petrel://`` keep mmengine's loaders: the clients that
    they need aren't public.
    """
    for prefixes, loader in (
        ('', load_from_local),
        (('http://', 'https://'), load_from_http),
        (('modelzoo://', 'torchvision://'), load_from_torchvision),
        ('mmcls://', load_from_mmcls),
        (('open-mmlab://', 'openmmlab://'), load_from_openmmlab),
        ('mmdmlora://', load_from_mmdmlora),
    ):
        CheckpointLoader.register_scheme(prefixes, loader, force=True)

"""Checkpoint loading that never runs code from the file, as mmengine's loaders.

mmengine 0.10.7 writes objects that ``torch.load(weights_only=True)``, the default of a
current PyTorch, refuses; it loads web addresses without that protection; and
``Runner.resume`` executes ``checkpoint['meta']['config']`` as Python. All three are
mended here, by :func:`install_safe_loaders`. Once upstream does the same, this file can
go except for ``.safetensors`` and ``.npz`` files and the ``mmdmlora://`` scheme.
"""

import re
import sys
from collections.abc import Callable
from contextlib import contextmanager
from os import makedirs
from os import path as osp
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import safetensors.torch
import torch
from mmengine.dist import barrier, get_rank
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as stock
from mmengine.runner.checkpoint import CheckpointLoader
from torch.serialization import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
)

WEIGHTS_DIR = Path(__file__).resolve().parents[1] / 'weights'
MapLocation = str | torch.device | Callable | dict | None


class InertObject:
    """Stands in for a class or function that a pickle names.

    It keeps what it is given and calls nothing. :meth:`revive` turns it into plain data
    after the file was read; what has no plain form becomes None.
    """

    def __new__(cls, *args):
        self = super().__new__(cls)
        self.args, self.state = args, None
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def revive(self) -> Any:
        return None


class InertDtype(InertObject):
    """Stands in for ``numpy.dtype``; accepts numbers and text, never objects."""

    def to_array(self, data: bytes) -> np.ndarray | None:
        code, order = self.args[0], self.state[1] if self.state else '|'
        if not re.fullmatch(r'[biufcSU]\d+', code) or order not in '<>=|':
            return None
        return np.frombuffer(data, dtype=np.dtype(order + code))


class InertScalar(InertObject):
    """Stands in for a NumPy scalar; revived as a Python value."""

    def revive(self) -> Any:
        dtype, data = self.args
        array = dtype.to_array(data)
        return None if array is None else array[0].item()


class InertArray(InertObject):
    """Stands in for a NumPy array; revived from its raw bytes."""

    def revive(self) -> np.ndarray | None:
        _, shape, dtype, is_fortran, data = self.state
        array = dtype.to_array(data) if isinstance(data, bytes) else None
        if array is None:
            return None
        return array.reshape(shape, order='F' if is_fortran else 'C').copy()


class InertHistoryBuffer(InertObject):
    """Stands in for mmengine's HistoryBuffer, whose own state may carry functions."""

    def revive(self) -> HistoryBuffer | None:
        """Build a new buffer from the two arrays; every other entry is ignored."""
        state = _revive(self.state)
        log, count = state.get('_log_history'), state.get('_count_history')
        for history in (log, count):
            if not isinstance(history, np.ndarray) or history.dtype.kind not in 'biuf':
                return None
        return HistoryBuffer(log, count, int(state['max_length']))


def _inert_dict(*args) -> dict:
    return dict(args[0]) if args and isinstance(args[0], dict) else {}


def _inert_list(*args) -> list:
    return list(args[0]) if args and isinstance(args[0], (list, tuple)) else []


def _inert_bytes(*args) -> bytes:
    return b''


INERT_GLOBALS = {
    'mmengine.logging.history_buffer.HistoryBuffer': InertHistoryBuffer,
    'mmengine.config.config.ConfigDict': _inert_dict,
    'builtins.getattr': InertObject,
    'builtins.bytes': _inert_bytes,
    'collections.deque': _inert_list,
    'numpy.dtype': InertDtype,
    'numpy.ndarray': InertArray,
    'numpy.core.multiarray._reconstruct': InertArray,
    'numpy._core.multiarray._reconstruct': InertArray,
    'numpy.core.multiarray.scalar': InertScalar,
    'numpy._core.multiarray.scalar': InertScalar,
}


@contextmanager
def _inert_globals():
    """Allow the names above, as stubs, even where a library allowed the real thing."""

    def name_of(entry) -> str:
        if isinstance(entry, tuple):
            return entry[1]
        return f'{entry.__module__}.{entry.__qualname__}'

    before = get_safe_globals()
    clear_safe_globals()
    add_safe_globals([item for item in before if name_of(item) not in INERT_GLOBALS])
    add_safe_globals([(stub, name) for name, stub in INERT_GLOBALS.items()])
    try:
        yield
    finally:
        clear_safe_globals()
        add_safe_globals(before)


def _revive(value: Any) -> Any:
    """Replace the stubs inside nested containers, in place where that is possible."""
    if isinstance(value, InertObject):
        return value.revive()
    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = _revive(item)
    elif isinstance(value, list):
        value[:] = [_revive(item) for item in value]
    elif type(value) is tuple:
        return tuple(_revive(item) for item in value)
    return value


def _explain(error: Exception) -> str:
    """One line on what is wrong with a file, without torch's advice to trust it."""
    text = str(error).strip()
    detail = re.search(r'WeightsUnpickler error:\s*(.+)', text)
    reason = detail[1] if detail else text.partition('\n')[0]
    wanted = re.search(
        r'GLOBAL (\S+)|reduce for unrecognized function (.+)|(Object arrays)', text
    )
    if wanted:
        return (
            f'refused, because it asks for {wanted[wanted.lastindex]}, which may run '
            'code. Where the file comes from, save its state dict alone (torch.save '
            'or safetensors)'
        )
    return (
        'it is no checkpoint, or it is cut off or damaged '
        f'({type(error).__name__}: {reason[:200]}). Copy or download it again'
    )


def load_checkpoint_file(path: str | Path, map_location: MapLocation = 'cpu') -> dict:
    """Load a checkpoint from a local file without running anything it contains.

    ``.safetensors`` and NumPy's ``.npz`` files give a dict of tensors. Any other file
    goes through ``torch.load(weights_only=True)``; a stock OpenMMLab checkpoint loads
    too, with its history buffers and NumPy values rebuilt from their raw numbers.

    Args:
        path (str | Path): The file.
        map_location (str | device | callable | dict, optional): As in ``torch.load``,
            but None means ``'cpu'``. Only a device counts for ``.safetensors`` and
            ``.npz``.

    Returns:
        dict: The checkpoint, without ``meta.config``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file asks for code, is damaged or holds no dict.

    Note:
        ``meta.cfg`` and ``message_hub.runtime_info.cfg`` stay: they are text. But
        mmengine's ``BaseInferencer`` runs that text if it gets weights and no config.
    """
    path = osp.expanduser(str(path))
    if not osp.isfile(path):
        raise FileNotFoundError(f'{path} can not be found.')
    map_location = 'cpu' if map_location is None else map_location
    try:
        is_device = isinstance(map_location, (str, torch.device))
        device = str(map_location) if is_device else 'cpu'
        if path.endswith('.safetensors'):
            return safetensors.torch.load_file(path, device=device)
        if path.endswith('.npz'):
            with np.load(path, allow_pickle=False) as arrays:
                return {k: torch.as_tensor(v, device=device) for k, v in arrays.items()}
        with _inert_globals():
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
        checkpoint = _revive(checkpoint)
    except PermissionError:
        raise
    except Exception as error:
        raise ValueError(f'Can not load {path}: {_explain(error)}.') from None
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'Can not load {path}: it holds a {type(checkpoint).__name__}. Save a dict.'
        )
    if isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return checkpoint


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

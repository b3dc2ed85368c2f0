"""Loading a checkpoint file without running code from it.

Reading is left to ``torch.load(weights_only=True)``, safetensors and NumPy. Scanners of
pickles such as picklescan or fickling aren't used: they look for names known to be bad,
or guess, while ``weights_only=True`` allows none but the names on its list.
"""

from __future__ import annotations

import logging
import os.path as osp
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors.torch
import torch
from mmengine.logging import print_log
from torch.torch_version import TorchVersion

from .home import expand_home
from .nested import replace_nested
from .refusals import (
    SAVE_WEIGHTS,
    RefusedFile,
    check_torch_file,
    check_unpacked_size,
    explain,
)
from .stock_objects import rebuild, stand_ins_allowed

SAVE_NUMBERS = 'save arrays of numbers'
MapLocation = str | torch.device | Callable | dict | None


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
        dict: The checkpoint, without the configs inside: ``meta.config``, ``meta.cfg``
        and ``message_hub.runtime_info.cfg``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file asks for code, unpacks to too much, is damaged or holds
            no dict.

    Note:
        The configs are text that mmengine would execute as Python: ``meta.config`` when
        a training is resumed, the others when an inferencer gets weights and no config.
        An inferencer must be given a config.
    """
    path = expand_home(str(path))
    if not osp.isfile(path):
        raise FileNotFoundError(f'{path} can not be found.')
    map_location = 'cpu' if map_location is None else map_location
    try:
        with open(path, 'rb') as stream:
            checkpoint = _read(stream, path, map_location)
    except PermissionError:
        raise
    except Exception as error:
        raise ValueError(f'Can not load {path}: {explain(error)}.') from None
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'Can not load {path}: it holds a {type(checkpoint).__name__}. Save a dict.'
        )
    _drop_configs(checkpoint)
    return checkpoint


def _read(stream: BinaryIO, path: str, map_location: MapLocation) -> Any:
    is_device = isinstance(map_location, (str, torch.device))
    device = str(map_location) if is_device else 'cpu'
    if path.endswith('.safetensors'):
        return safetensors.torch.load_file(path, device=device)
    if path.endswith('.npz'):
        return _read_npz(stream, device)
    check_torch_file(stream)
    _warn_of_old_torch()
    with stand_ins_allowed():
        checkpoint = torch.load(stream, map_location=map_location, weights_only=True)
    _check_attributes(checkpoint)
    return rebuild(checkpoint)


def _read_npz(stream: BinaryIO, device: str) -> dict[str, torch.Tensor]:
    check_unpacked_size(stream)
    tensors = {}
    with np.load(stream, allow_pickle=False) as archive:
        for name in archive.files:
            try:
                array = archive[name]
            except ValueError as error:
                has_objects = 'allow_pickle' in str(error)
                what = (
                    'holds Python objects, which may run code'
                    if has_objects
                    else 'can not be read as numbers'
                )
                raise RefusedFile(
                    f"the array '{name}.npy' {what}", SAVE_NUMBERS
                ) from None
            if array.dtype.kind not in 'biufc':
                reason = f"the array '{name}.npy' holds {array.dtype}, no type of numbers"
                raise RefusedFile(reason, SAVE_NUMBERS)
            tensors[name] = torch.as_tensor(array, device=device)
    return tensors


@cache
def _warn_of_old_torch() -> None:
    """Warn once of a PyTorch whose ``weights_only=True`` is known to be unsafe."""
    if TorchVersion(torch.__version__) < '2.10':
        print_log(
            f'PyTorch {torch.__version__} has a hole in torch.load(weights_only=True) '
            '(CVE-2026-24747): a checkpoint made for that purpose may run code. Load '
            'only files that you trust, or .safetensors, or install PyTorch 2.10.',
            logger='current',
            level=logging.WARNING,
        )


def _check_attributes(checkpoint: Any) -> None:
    """Refuse dicts with attributes, which may hide their methods.

    ``torch.load`` accepts any attribute of an OrderedDict, such as another ``copy``;
    only ``_metadata`` belongs to a state dict.
    """

    def check(value: Any) -> Any:
        if isinstance(value, dict) and {*getattr(value, '__dict__', ())} - {'_metadata'}:
            raise RefusedFile(
                f'it sets attributes of {type(value).__name__}, which may replace its '
                'methods',
                SAVE_WEIGHTS,
            )
        return value

    replace_nested(checkpoint, check)


def _drop_configs(checkpoint: dict) -> None:
    hub = checkpoint.get('message_hub')
    hub = hub if isinstance(hub, dict) else {}
    for holder, keys in (
        (checkpoint.get('meta'), ('config', 'cfg')),
        (hub.get('runtime_info'), ('cfg',)),
        (hub.get('resumed_keys'), ('cfg',)),
    ):
        if isinstance(holder, dict):
            for key in keys:
                holder.pop(key, None)

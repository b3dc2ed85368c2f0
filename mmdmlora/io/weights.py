"""Files of weights: what an ending says is what is written."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from .atomic import atomic_save, atomic_write
from .plain import to_plain

SAFETENSORS = '.safetensors'
WEIGHTS_ENDINGS = ('.pth', '.pt', SAFETENSORS)


def save_weights(
    state: Mapping[str, Tensor], path: str | Path, dataset_meta: Mapping | None = None
) -> None:
    """Write a state dict, whole or not at all.

    Args:
        state (Mapping[str, Tensor]): The tensors, on any device.
        path (str | Path): ``.pth`` and ``.pt`` give a checkpoint in mmengine's form:
            a dict of ``state_dict``, with the versions of its modules, and ``meta``.
            ``.safetensors`` gives the tensors alone, which other libraries expect, with
            ``dataset_meta`` as JSON in the file's metadata.
        dataset_meta (Mapping, optional): Class names and the like.

    Raises:
        ValueError: If the ending is another one.
        OSError: If the file can't be written.
    """
    path = Path(path)
    if path.suffix not in WEIGHTS_ENDINGS:
        raise ValueError(f'{str(path)!r} must end in one of {list(WEIGHTS_ENDINGS)}.')
    tensors = OrderedDict((name, tensor.cpu()) for name, tensor in state.items())
    if hasattr(state, '_metadata'):
        tensors._metadata = state._metadata  # type: ignore[attr-defined]
    meta = to_plain(dict(dataset_meta or {}), 'dataset_meta')
    if path.suffix == SAFETENSORS:
        # The format stores each tensor by itself, also those that share memory.
        apart = {k: v.clone().contiguous() for k, v in tensors.items()}
        header = {'format': 'pt', 'dataset_meta': json.dumps(meta, default=str)}
        content = safetensors.torch.save(apart, header)
        with atomic_write(path) as stream:
            stream.write(content)
    else:
        atomic_save(dict(meta=dict(dataset_meta=meta), state_dict=tensors), path)

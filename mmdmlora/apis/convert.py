"""Converting a file with a pre-trained backbone."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file

import mmdmlora.engine  # noqa: F401, the safe loaders
from mmdmlora.models.convert import Architecture, convert_backbone


def convert_file(source: str, out: str | Path, force: bool = False) -> Architecture:
    """Write a pre-trained backbone with mmpretrain's names.

    Args:
        source: A file or URL with a backbone in a layout that
            :func:`~mmdmlora.models.convert.convert_backbone` knows.
        out: The file to write, ``.pth`` or ``.safetensors``.
        force: Whether an existing file may be replaced.

    Returns:
        Architecture: What was found.

    Raises:
        ValueError: If the source is missing or unknown, or ``out`` exists or has another
            ending.
    """
    out = Path(out)
    if out.suffix not in ('.pth', '.safetensors'):
        raise ValueError(f'{str(out)!r} must end in .pth or .safetensors.')
    if out.exists() and not force:
        raise ValueError(f'{str(out)!r} exists: name another file, or use --force.')
    try:
        loaded = CheckpointLoader.load_checkpoint(source, map_location='cpu')
        architecture, state = convert_backbone(loaded)
    except FileNotFoundError as error:
        raise ValueError(f'there is no file {source!r}.') from error
    except ValueError as error:
        raise ValueError(f'{source!r} can not be converted: {error}') from error
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f'.{out.name}.tmp')
    if out.suffix == '.pth':
        torch.save(dict(state_dict=state), temporary)
    else:
        save_file(state, temporary)
    os.replace(temporary, out)
    return architecture

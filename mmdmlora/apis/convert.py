"""Converting a file with a pre-trained backbone."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch

from mmdmlora.io import atomic_save, atomic_write, expand_home, load_checkpoint
from mmdmlora.models.convert import Architecture, convert_backbone

from .checks import check_output


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
        ValueError: If the source is missing or unknown, or ``out`` exists, has another
            ending or stands where nothing can be written.
    """
    out = expand_home(Path(out))
    if out.suffix not in ('.pth', '.safetensors'):
        raise ValueError(f'{str(out)!r} must end in .pth or .safetensors.')
    if out.exists() and not force:
        raise ValueError(f'{str(out)!r} exists: name another file, or use --force.')
    check_output(out, 'DST')
    try:
        loaded = load_checkpoint(source)
        architecture, state = convert_backbone(loaded)
    except FileNotFoundError as error:
        raise ValueError(f'there is no file {source!r}.') from error
    except ValueError as error:
        raise ValueError(f'{source!r} can not be converted: {error}') from error
    if out.suffix == '.pth':
        atomic_save(dict(state_dict=state), out)
    else:
        with atomic_write(out) as stream:
            stream.write(safetensors.torch.save(state))
    return architecture

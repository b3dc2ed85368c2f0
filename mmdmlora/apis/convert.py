"""Converting a file with a pre-trained backbone."""

from __future__ import annotations

from pathlib import Path

from mmdmlora.io import WEIGHTS_ENDINGS, expand_home, load_checkpoint, save_weights
from mmdmlora.models.convert import Architecture, convert_backbone

from .outputs import check_output


def convert_file(
    source: str,
    out: str | Path,
    force: bool = False,
    key: str | None = None,
    prefix: str | None = None,
) -> Architecture:
    """Write a pre-trained backbone with mmpretrain's names.

    Args:
        source: A file or URL with a backbone in a layout that
            :func:`~mmdmlora.models.convert.convert_backbone` knows.
        out: The file to write, ``.pth``, ``.pt`` or ``.safetensors``.
        force: Whether an existing file may be replaced.
        key: The key of the state dict to take, if the file has several.
        prefix: What stands before the names to take.

    Returns:
        Architecture: What was found.

    Raises:
        ValueError: If the source is missing or unknown, or ``out`` is the source,
            exists, has another ending or stands where nothing can be written.
    """
    source, out = expand_home(source), expand_home(Path(out))
    check_output(out, 'DST', [source], WEIGHTS_ENDINGS)
    if out.exists() and not force:
        raise ValueError(f'{str(out)!r} exists: name another file, or use --force.')
    try:
        loaded = load_checkpoint(source)
        architecture, state = convert_backbone(loaded, key, prefix)
    except FileNotFoundError as error:
        raise ValueError(f'there is no file {source!r}.') from error
    except ValueError as error:
        raise ValueError(f'{source!r} can not be converted: {error}') from error
    save_weights(state, out)
    return architecture

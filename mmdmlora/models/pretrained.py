"""Loading a backbone's weights so that nothing is missed in silence."""

from __future__ import annotations

from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

PREFIXES = ('', 'backbone.', 'module.', 'module.backbone.')


def load_pretrained(
    backbone: nn.Module, checkpoint: str, prefix: str | None = None
) -> None:
    """Load a checkpoint into a backbone, completely or not at all.

    mmengine's ``Pretrained`` initializer only logs a warning where keys don't fit, so
    that a training silently starts from random weights. Here every parameter of the
    backbone must come from the file. What the file holds beyond (a head) is left alone.

    Args:
        backbone: The network; its own hooks may adapt tensors, such as a position
            embedding for another image size.
        checkpoint: A path or URL, in any form that mmengine's loader accepts.
        prefix: What stands before the backbone's names in the file. Found by itself
            among ``''``, ``'backbone.'`` and ``'module.'`` if None.

    Raises:
        ValueError: If the file is missing, or a parameter is missing in it or has
            another shape.
    """
    try:
        loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    except FileNotFoundError as error:
        raise ValueError(
            f'no backbone checkpoint at {checkpoint!r}: put the file there, or name '
            "another one in the backbone's init_cfg.checkpoint."
        ) from error
    state = loaded.get('state_dict', loaded.get('model', loaded))
    names = {name for name, _ in backbone.named_parameters()}
    state = _strip(state, names, prefix)
    if missing := sorted(names - set(state)):
        raise ValueError(
            f'{checkpoint!r} does not fit {type(backbone).__name__}: {len(missing)} of '
            f'{len(names)} parameters are missing, first {missing[:3]}. The file names '
            f"{sorted(state)[:3]}. It must have mmpretrain's names for this architecture."
        )
    try:
        backbone.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(
            f'{checkpoint!r} does not fit {type(backbone).__name__}: {error}'
        ) from error


def _strip(
    state: dict[str, Tensor], names: set[str], prefix: str | None
) -> dict[str, Tensor]:
    """Remove the given prefix, or the known one under which most names are found."""
    if prefix is None:
        prefix = max(PREFIXES, key=lambda p: sum(p + name in state for name in names))
    elif not prefix.endswith('.'):
        prefix += '.'
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}

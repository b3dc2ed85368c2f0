"""Loading a backbone's weights so that nothing is missed in silence."""

from __future__ import annotations

from torch import Tensor, nn

from mmdmlora.io import load_checkpoint

from .convert import PREFIXES, convert_backbone, unwrap


def load_pretrained(
    backbone: nn.Module, checkpoint: str, prefix: str | None = None
) -> None:
    """Load a checkpoint into a backbone, completely or not at all.

    mmengine's ``Pretrained`` initializer only logs a warning where keys don't fit, so
    that a training silently starts from random weights. Here every parameter of the
    backbone must come from the file, and every tensor of the file that lies inside the
    backbone's modules must be used. What the file holds beyond (a head) is left alone.

    Args:
        backbone: The network; its own hooks may adapt tensors, such as a position
            embedding for another image size.
        checkpoint: A path, URL or name, as
            :func:`~mmdmlora.io.schemes.load_checkpoint` takes it. A file of another
            library is converted by
            :func:`~mmdmlora.models.convert.convert_backbone`.
        prefix: What stands before the backbone's names in the file. Found by itself
            among the usual ones if None.

    Raises:
        ValueError: If the file is missing, a parameter is missing in it or has another
            shape, or the backbone has no place for one of its tensors.
    """
    try:
        loaded = load_checkpoint(checkpoint)
    except FileNotFoundError as error:
        raise ValueError(
            f'no backbone checkpoint at {checkpoint!r}: put the file there, or name '
            "another one in the backbone's init_cfg.checkpoint."
        ) from error
    names = {name for name, _ in backbone.named_parameters()}
    state = _strip(unwrap(loaded), names, prefix)
    if names - set(state):
        state = _converted(state if prefix else loaded, state, backbone, checkpoint)
    if unused := _without_place(state, backbone):
        raise ValueError(
            f'{checkpoint!r} does not fit {type(backbone).__name__}: the backbone has no '
            f'place for {len(unused)} of its tensors, first {unused[:3]}. Use the depth '
            'and options, such as layer_scale_init_value, that it was trained with.'
        )
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
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
    elif prefix and not prefix.endswith('.'):
        prefix += '.'
    return {
        k[len(prefix) :]: v
        for k, v in state.items()
        if k.startswith(prefix) and isinstance(v, Tensor)
    }


def _converted(
    source: dict, stripped: dict[str, Tensor], backbone: nn.Module, checkpoint: str
) -> dict[str, Tensor]:
    """Convert a file that lacks names of the backbone; ValueError if that is no help."""
    names = {name for name, _ in backbone.named_parameters()}
    try:
        architecture, state = convert_backbone(source)
        reason = f'It holds a {architecture} ({architecture.source} names).'
    except ValueError as error:
        state = stripped
        reason = f'Nor can it be converted: {error}'
    if missing := sorted(names - set(state)):
        raise ValueError(
            f'{checkpoint!r} does not fit {type(backbone).__name__}: {len(missing)} of '
            f'{len(names)} parameters are missing, first {missing[:3]}. The file names '
            f'{sorted(stripped)[:3]}. {reason}'
        )
    return state


def _without_place(state: dict[str, Tensor], backbone: nn.Module) -> list[str]:
    """Tensors below a child of the backbone that it lacks; masks are no weights."""
    children = {name for name, _ in backbone.named_children()}
    return sorted(
        name
        for name in set(state) - set(backbone.state_dict())
        if name.partition('.')[0] in children and not name.endswith('.attn_mask')
    )

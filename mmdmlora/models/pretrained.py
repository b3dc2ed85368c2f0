"""Loading a backbone's weights so that nothing is missed in silence."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from mmdmlora.io import load_checkpoint

from .convert import (
    below,
    convert_state,
    describe,
    narrowed,
    preferred_prefix,
    prefixes_of,
    read_preferred,
)

State = dict[str, Tensor]
SETTINGS = ('checkpoint', 'prefix', 'key')


@dataclass(frozen=True)
class Fit:
    """The part of a file that fits a backbone.

    Attributes:
        module: What it is loaded into: the backbone, or the only module in it.
        state: The tensors, by the module's names.
        prefix: What stood before the names in the file.
        other_prefixes: What stands before other names that fit.
    """

    module: nn.Module
    state: State
    prefix: str
    other_prefixes: tuple[str, ...]


def load_init_cfg(backbone: nn.Module, init_cfg: Mapping[str, Any]) -> None:
    """Load what an ``init_cfg`` of type ``Pretrained`` names.

    Raises:
        ValueError: See :func:`load_pretrained`, or if it has another setting than
            ``checkpoint``, ``prefix`` and ``key``.
    """
    settings = {k: v for k, v in init_cfg.items() if k not in ('type', 'map_location')}
    if unknown := sorted(set(settings) - set(SETTINGS)):
        raise ValueError(
            f"nothing reads {unknown} of the backbone's init_cfg: it takes "
            f'{list(SETTINGS)}.'
        )
    load_pretrained(backbone, **settings)


def load_pretrained(
    backbone: nn.Module,
    checkpoint: str,
    prefix: str | None = None,
    key: str | None = None,
) -> None:
    """Load a checkpoint into a backbone, completely or not at all.

    mmengine's ``Pretrained`` initializer only logs a warning where keys don't fit, so
    that a training silently starts from random weights. Here every parameter of the
    backbone must come from the file, and every tensor of the file that lies inside the
    backbone's modules must be used. What the file holds beyond (a head) is left alone.
    The log says what was taken, and what else the file has.

    Args:
        backbone: The network; its own hooks may adapt tensors, such as a position
            embedding for another image size. One that only wraps a module of another
            library, such as mmpretrain's TIMMBackbone, takes that library's files too;
            timm's own filter reads those of timm.
        checkpoint: A path, URL or name, as
            :func:`~mmdmlora.io.schemes.load_checkpoint` takes it. A file of another
            library is converted by
            :func:`~mmdmlora.models.convert.convert_backbone`.
        prefix: What stands before the backbone's names in the file. Found by itself
            if None.
        key: The key of the state dict to take. Defaults to the preferred one, see
            :mod:`~mmdmlora.models.convert.candidates`.

    Raises:
        ValueError: If the file is missing, a parameter is missing in it or has another
            shape, the backbone has no place for one of its tensors, or several parts
            of the file could be meant.
    """
    try:
        loaded = load_checkpoint(checkpoint)
    except FileNotFoundError as error:
        raise ValueError(
            f'no backbone checkpoint at {checkpoint!r}: put the file there, or name '
            "another one in the backbone's init_cfg.checkpoint."
        ) from error
    misfit = f'{checkpoint!r} does not fit {type(backbone).__name__}'
    try:
        choice = read_preferred(
            loaded, lambda state: _fit(backbone, narrowed(state, prefix)), key
        )
        fit = choice.content
        _load(fit.module, fit.state)
    except ValueError as error:
        raise ValueError(f'{misfit}: {error}') from error
    taken = describe(choice, fit.prefix, fit.other_prefixes)
    print_log(f'Weights of {checkpoint}: {taken}', logger='current')


def _load(module: nn.Module, state: State) -> None:
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    try:
        module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def _fit(backbone: nn.Module, state: State) -> Fit:
    """Find the backbone's tensors in a state dict; ValueError if it isn't complete."""
    for module in _nested(backbone):
        names = {_name_in_file(module, name) for name in _required(module)}
        found = prefixes_of(state, names)
        read = _library_filter(module)
        complete = [prefix for prefix, count in found.items() if count == len(names)]
        if not complete and read and found:
            complete = [max(found, key=found.__getitem__)]
        if not complete:
            continue
        prefix = preferred_prefix(complete)
        others = tuple(other for other in complete if other != prefix)
        inner = below(state, prefix)
        if read:
            inner = read(inner)
        if names <= inner.keys():
            own = {_name_in_file(module, name): name for name in module.state_dict()}
            named = {own.get(name, name): value for name, value in inner.items()}
            return _checked(Fit(module, named, prefix, others))
    return _converted(backbone, state)


def _converted(backbone: nn.Module, state: State) -> Fit:
    """Convert a file that lacks names of the backbone; ValueError if that is no help."""
    names = _required(backbone)
    found = prefixes_of(state, names)
    prefix = max(found, key=found.__getitem__, default='')
    fit = Fit(backbone, below(state, prefix), prefix, ())
    try:
        architecture, converted = convert_state(state)
        places = architecture.prefix, architecture.other_prefixes
        fit = Fit(backbone, converted, *places)
        reason = f'It holds a {architecture} ({architecture.source} names).'
    except ValueError as error:
        reason = f'Nor can it be converted: {error}'
    if missing := sorted(names - set(fit.state)):
        raise ValueError(
            f'{len(missing)} of {len(names)} parameters are missing, first '
            f'{missing[:3]}. The file names {sorted(state)[:3]}. {reason}'
        )
    return _checked(fit)


def _checked(fit: Fit) -> Fit:
    """Refuse tensors below a child of the module that it lacks; masks are no weights."""
    children = {name for name, _ in fit.module.named_children()}
    unused = sorted(
        name
        for name in set(fit.state) - set(fit.module.state_dict())
        if name.partition('.')[0] in children
        and not name.endswith('.attn_mask')
        and not name.startswith(_left_out(fit.module))
    )
    if unused:
        raise ValueError(
            f'the backbone has no place for {len(unused)} of its tensors, first '
            f'{unused[:3]}. Use the depth and options, such as layer_scale_init_value, '
            'that it was trained with.'
        )
    return fit


def _required(module: nn.Module) -> set[str]:
    """What a file must hold: the parameters, and the statistics of batch norms."""
    names = {name for name, _ in module.named_parameters()}
    statistics = ('.running_mean', '.running_var')
    return names | {name for name in module.state_dict() if name.endswith(statistics)}


def _nested(module: nn.Module) -> Iterator[nn.Module]:
    """A module, and the child that has all of its parameters, and so on."""
    yield module
    children = [c for c in module.children() if any(True for _ in c.parameters())]
    own = any(True for _ in module.parameters(recurse=False))
    if len(children) == 1 and not own:
        yield from _nested(children[0])


def _name_in_file(module: nn.Module, name: str) -> str:
    """A tensor's name in a file: timm renames ``stages.0`` where it taps features."""
    if type(module).__module__ != 'timm.models._features':
        return name
    return re.sub(r'^([a-z]+)_(\d+)\.', r'\1.\2.', name)


def _library_filter(module: nn.Module) -> Callable[[State], State] | None:
    """How timm reads files for one of its models: older names, other image sizes."""
    home = type(module).__module__
    read = getattr(sys.modules[home], 'checkpoint_filter_fn', None)
    if not home.startswith('timm.') or read is None:
        return None

    def filtered(state: State) -> State:
        try:
            return read(dict(state), module)
        except (AttributeError, LookupError, RuntimeError, TypeError):
            return state

    return filtered


def _left_out(module: nn.Module) -> tuple[str, ...]:
    """What the names begin with that mmpretrain and timm take out of a timm model."""
    names = getattr(module, 'pretrained_cfg', {}).get('classifier') or ()
    removed = [names] if isinstance(names, str) else [*names]
    if type(module).__module__.startswith('timm.'):
        for name in ('head', 'head_dist', 'norm', 'fc_norm'):
            if isinstance(getattr(module, name, None), nn.Identity):
                removed.append(name)
    return tuple(f'{name}.' for name in removed)

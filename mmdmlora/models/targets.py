"""Finding the layers that a method adapts."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import nn

PARTS = ('q', 'k', 'v')


@dataclass(frozen=True)
class Target:
    """A layer to adapt.

    Attributes:
        name: The layer's path in the backbone.
        layer: The layer.
        parts: Which thirds of a fused qkv's output rows are adapted; empty: all rows.
        overrides: What the target overrides of the method's options.
    """

    name: str
    layer: nn.Linear | nn.Conv2d
    parts: tuple[str, ...]
    overrides: dict


def is_linear(layer: nn.Module) -> bool:
    """Whether ``layer`` is a linear map of the channels: linear or a 1x1 convolution."""
    if isinstance(layer, nn.Conv2d):
        return (
            layer.kernel_size == (1, 1)
            and layer.stride == (1, 1)
            and layer.padding in ((0, 0), 'same', 'valid')
            and layer.groups == 1
        )
    return isinstance(layer, nn.Linear)


def find_targets(
    backbone: nn.Module, targets: Sequence[dict], options: Collection[str]
) -> list[Target]:
    """Match layers of a backbone against target descriptions.

    Args:
        backbone: The network whose layers are looked up.
        targets: Each a dict with ``type``, a regular expression for the layer's whole
            path or a suffix of it, optionally ``parts`` (a selection of 'q', 'k', 'v' of
            a fused qkv), and overrides of the method's options. The first target that
            matches a layer wins.
        options: The names that a target may override.

    Returns:
        The layers in the order of ``named_modules``.

    Raises:
        ValueError: If a target is malformed, matches no layer or a layer that isn't
            linear, or names parts of a layer that isn't a fused qkv.
    """
    if not isinstance(targets, Sequence):
        raise ValueError(
            f'targets is a list of dicts, not {targets!r}: write '
            "targets=[dict(type='attn.qkv')]."
        )
    if not targets:
        raise ValueError("targets is empty: name layers, e.g. [dict(type='attn.qkv')].")
    allowed = {'type', 'parts', *options}
    for target in targets:
        if not isinstance(target, dict) or not isinstance(target.get('type'), str):
            raise ValueError(
                f"a target is a dict with a string 'type', not {target!r}: write "
                "targets=[dict(type='attn.qkv')] in a config file (--cfg-options can't)."
            )
        if unknown := set(target) - allowed:
            raise ValueError(
                f'unknown keys {sorted(unknown, key=str)} in target {target!r}; '
                f'allowed are {sorted(allowed)}.'
            )

    found: dict[str, Target] = {}
    matched = [False] * len(targets)
    for name, layer in list(backbone.named_modules())[1:]:
        for index, target in enumerate(targets):
            pattern = target['type']
            if not _matches(pattern, name) or not _adaptable(layer, name, pattern):
                continue
            matched[index] = True
            if name not in found:
                overrides = {k: v for k, v in target.items() if k in options}
                parts = _parts(target.get('parts', ()), layer, name)
                found[name] = Target(name, layer, parts, overrides)
    for target, hit in zip(targets, matched, strict=True):
        if not hit:
            linear = [n for n, m in backbone.named_modules() if is_linear(m)]
            raise ValueError(
                f'target {target["type"]!r} matches no linear layer of '
                f'{type(backbone).__name__}: name the end of a path, or a regular '
                'expression for the whole. Its linear layers are, among others: '
                f'{", ".join(linear[:8])}.'
            )
    return list(found.values())


def _matches(pattern: str, name: str) -> bool:
    try:
        return bool(re.fullmatch(pattern, name)) or name.endswith(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(
            f'target {pattern!r} is no valid regular expression: {error}. Put a '
            'backslash before a special character.'
        ) from error


def _adaptable(layer: nn.Module, name: str, pattern: str) -> bool:
    """True for a linear layer, False for a container; another layer is an error."""
    if is_linear(layer):
        return True
    is_leaf = next(layer.children(), None) is None
    if is_leaf and next(layer.parameters(), None) is not None:
        raise ValueError(
            f'target {pattern!r} matches {name!r}, a {type(layer).__name__}. Only linear '
            'layers and 1x1 convolutions of stride 1 can be adapted: narrow the '
            'expression.'
        )
    return False


def _parts(parts: Sequence[str], layer: nn.Module, name: str) -> tuple[str, ...]:
    parts = (parts,) if isinstance(parts, str) else parts
    if not isinstance(parts, Sequence) or any(
        part not in PARTS or parts.count(part) > 1 for part in parts
    ):
        raise ValueError(
            f"parts={parts!r}: name different ones of {PARTS}, such as ('q', 'v')."
        )
    if not parts:
        return ()
    rows, columns = layer.weight.shape[:2]
    fused = rows == 3 * columns or (rows % 3 == 0 and name.endswith('qkv'))
    if not fused:
        raise ValueError(
            f'parts={parts!r} needs a fused qkv, but {name!r} maps {columns} to {rows} '
            'features. Leave parts out to adapt the whole layer.'
        )
    return tuple(sorted(parts, key=PARTS.index))

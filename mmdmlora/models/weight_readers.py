"""Modules that read the weight of a layer below them instead of running the layer."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from functools import cache

from torch import nn

from .layers.inserted_layer import InsertedLayer


def check_readers(backbone: nn.Module, layers: Mapping[str, InsertedLayer]) -> None:
    """Refuse what an owner of a layer that reads its weight would pass over.

    Args:
        backbone: The network.
        layers: What is to stand in the place of its layers, by path.

    Raises:
        ValueError: If an owner reads the weight and no weight equals what is inserted.

    Note:
        Owners are recognised by their source. One that isn't gets a RuntimeError when
        it reads, see :class:`~mmdmlora.models.layers.inserted_layer.InsertedLayer`.
    """
    for path, layer in layers.items():
        fault = layer.reading_fault()
        if fault and (owner := find_reader(backbone, path)):
            raise ValueError(
                f'{path!r} can not be adapted this way: its owner, a {owner}, reads the '
                f'weight itself and {fault}. Name other targets, or use LoRAModel or '
                "DMLoRAModel with drop_rate=0 and draws='batch'."
            )


def find_reader(backbone: nn.Module, path: str) -> str:
    """The class of a module above a layer whose forward reads the layer's weight.

    Args:
        backbone: The network.
        path: The layer's path in it.

    Returns:
        str: Its name; empty if there is none.
    """
    parts = path.split('.')
    name = next((part for part in reversed(parts) if not part.isdigit()), '')
    for depth in reversed(range(len(parts))):
        owner = type(backbone.get_submodule('.'.join(parts[:depth])))
        if name in _names_read(owner):
            return owner.__name__
    return ''


@cache
def _names_read(owner: type[nn.Module]) -> frozenset[str]:
    """The names of children of whose weight or bias a class's forward makes use."""
    names, seen, waiting = set(), set(), ['forward']
    while waiting:
        function = getattr(owner, waiting.pop(), None)
        function = getattr(function, 'fget', function)
        if function in seen or not inspect.isfunction(function):
            continue
        seen.add(function)
        for node in ast.walk(_tree(function)):
            if not isinstance(node, ast.Attribute):
                continue
            if isinstance(node.value, ast.Name) and node.value.id == 'self':
                waiting.append(node.attr)
            if node.attr in ('weight', 'bias'):
                names.add(_last_name(node.value))
    return frozenset(names - {''})


def _tree(function: Callable) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError):
        return ast.Module(body=[], type_ignores=[])


def _last_name(node: ast.AST) -> str:
    """``qkv`` of ``self.attn.qkv`` and of ``self.qkv[0]``."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else ''

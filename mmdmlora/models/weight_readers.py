"""Modules that read the weight of a layer below them instead of running the layer."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

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
        owner = backbone.get_submodule('.'.join(parts[:depth]))
        if name in _names_read(owner):
            return type(owner).__name__
    return ''


def _names_read(owner: nn.Module) -> set[str]:
    """The names of layers of whose weight or bias a module's forward makes use."""
    readings = _Readings(owner)
    seen, waiting = set(), {'forward'}
    while waiting:
        seen |= waiting
        for name in waiting:
            member = getattr(type(owner), name, None)
            function = getattr(member, 'fget', member)
            if inspect.isfunction(function):
                readings.visit(_tree(function))
        waiting = readings.members - seen
    return readings.names


class _Readings(ast.NodeVisitor):
    """Collects the layers that are read and the members that are used.

    Branches that the module's settings rule out, as in ``if self.q_bias is None``, are
    left out.
    """

    def __init__(self, owner: nn.Module) -> None:
        self.owner = owner
        self.names: set[str] = set()
        self.members: set[str] = set()

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name) and node.value.id == 'self':
            self.members.add(node.attr)
        layer = node.value
        while isinstance(layer, ast.Subscript):
            layer = layer.value
        if node.attr in ('weight', 'bias') and isinstance(layer, ast.Attribute):
            self.names.add(layer.attr)
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        known = self._value(node.test)
        self.visit(node.test)
        for statements, value in ((node.body, True), (node.orelse, False)):
            if known in (None, value):
                for statement in statements:
                    self.visit(statement)

    def _value(self, test: ast.expr) -> bool | None:
        """What a condition is for good; None if that isn't known."""
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            value = self._value(test.operand)
            return None if value is None else not value
        if isinstance(test, ast.Compare) and isinstance(test.ops[0], (ast.Is, ast.IsNot)):
            found, setting = self._setting(test.left)
            if found and ast.unparse(test.comparators[0]) == 'None':
                return (setting is None) == isinstance(test.ops[0], ast.Is)
        found, setting = self._setting(test)
        return setting if found and isinstance(setting, bool) else None

    def _setting(self, node: ast.expr) -> tuple[bool, Any]:
        """The value of ``self.<name>``, unless it changes with the mode."""
        is_member = isinstance(node, ast.Attribute) and ast.unparse(node.value) == 'self'
        if not is_member or node.attr == 'training' or not hasattr(self.owner, node.attr):
            return False, None
        return True, getattr(self.owner, node.attr)


@cache
def _tree(function: Callable) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError):
        return ast.Module(body=[], type_ignores=[])

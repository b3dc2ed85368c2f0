"""Replacing values inside nested containers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def replace_nested(
    value: Any, replace: Callable[[Any], Any], seen: dict[int, tuple] | None = None
) -> Any:
    """Replace values inside nested dicts, lists and tuples, in place where possible.

    Args:
        value: The value to look through. It may contain itself.
        replace: Called once with each container and each value. It returns the value
            itself to keep it, and another value to replace it.
        seen: The values that were visited already, by identity, so that a value to which
            many places refer is visited once and stays shared. Only for recursive calls.

    Returns:
        Any: The value, or what replaces it.
    """
    seen = {} if seen is None else seen
    if id(value) in seen:
        return seen[id(value)][1]
    new = replace(value)
    if new is value and not isinstance(value, (dict, list, tuple)):
        return value
    seen[id(value)] = value, new
    if new is not value:
        return new
    if isinstance(value, dict):
        for key, item in [*value.items()]:
            if (changed := replace_nested(item, replace, seen)) is not item:
                value[key] = changed
    elif isinstance(value, list):
        value[:] = [replace_nested(item, replace, seen) for item in value]
    elif type(value) is tuple:
        new = tuple(replace_nested(item, replace, seen) for item in value)
        seen[id(value)] = value, new
    return new

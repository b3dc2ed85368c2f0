"""The name of what a config builds."""

from __future__ import annotations


def type_name(config: dict, default: str = '') -> str:
    """The name in ``type``, which may have a scope before it or be a class."""
    kind = config.get('type', default)
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__

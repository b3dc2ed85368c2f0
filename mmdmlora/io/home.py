"""What ``~`` means: the same in every path that a user gives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from .nested import replace_nested

T = TypeVar('T')


def expand_home(value: T) -> T:
    """Replace a leading ``~`` or ``~user`` by the home folder.

    A shell does that only at the start of an argument: not in ``--data-root=~/data``,
    nor in a config. What isn't the name of a home folder stays as it is.

    Args:
        value: A path, or nested dicts, lists and tuples such as a config's, in which
            every string is looked at and replaced in place.

    Returns:
        The value, or what replaces it, of the same type.
    """
    return replace_nested(value, _expanded)


def _expanded(value: object) -> object:
    if isinstance(value, str | Path) and str(value).startswith('~'):
        return type(value)(os.path.expanduser(value))
    return value

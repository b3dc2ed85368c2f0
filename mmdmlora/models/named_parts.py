"""Parts of a model by the names that its users write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from torch import Tensor, nn


def find_parts(
    names: Iterable[str], tensors: Mapping[str, Tensor], model: str
) -> list[Tensor]:
    """The parameters and buffers of submodules.

    Args:
        names: Paths of submodules, or of single parameters.
        tensors: All parameters and buffers by name.
        model: What to call the model in a message.

    Returns:
        list[Tensor]: Those that have one of the names, or stand below it.

    Raises:
        ValueError: If a name has no parameters; the message lists names that have.
    """
    found = []
    for name in names:
        part = [
            tensor
            for path, tensor in tensors.items()
            if path == name or path.startswith(f'{name}.')
        ]
        if not any(isinstance(tensor, nn.Parameter) for tensor in part):
            raise ValueError(
                f'train_also={name!r} names no part of {model} that has parameters: '
                f'use the path of one, such as {_candidates(name, tensors)}.'
            )
        found += part
    return found


def _candidates(name: str, tensors: Mapping[str, Tensor]) -> str:
    """Paths that resemble a wrong name, and those of the model's outermost parts."""
    paths = {
        path.rsplit('.', count)[0]: None
        for path, tensor in tensors.items()
        if isinstance(tensor, nn.Parameter)
        for count in range(path.count('.') + 1)
    }
    outermost = [path for path in paths if '.' not in path]
    known = [*get_close_matches(name, paths, n=3), *outermost]
    return ', '.join(repr(path) for path in dict.fromkeys(known))

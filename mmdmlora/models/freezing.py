"""What a backbone trains of itself, and keeping that and statistics as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn


def trained_names(backbone: nn.Module) -> frozenset[str]:
    """The parameters that a backbone trains if nothing is wrapped around it.

    Backbones freeze (``frozen_stages``) when they are built or in each call of
    ``train()``. This asks after such a call and takes back what it changes in modes.

    Returns:
        frozenset[str]: Their names.
    """
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.train()
    names = {name for name, p in backbone.named_parameters() if p.requires_grad}
    # Some modules keep a cache in evaluation, which their own method fills.
    backbone.train(modes[0][1])
    for module, mode in modes:
        module.training = mode
    return frozenset(names)


@contextmanager
def unchanged_flags(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let nothing inside change which of the parameters are trained."""
    flags = [(parameter, parameter.requires_grad) for parameter in parameters]
    yield
    for parameter, flag in flags:
        if parameter.requires_grad != flag:
            parameter.requires_grad_(flag)


def has_statistics(module: nn.Module) -> bool:
    """Whether training forwards change it without a gradient, as a batch norm's do."""
    return any(name.startswith('running_') for name, _ in module.named_buffers('', False))


def is_frozen(module: nn.Module) -> bool:
    """Whether no parameter of it is trained."""
    return not any(parameter.requires_grad for parameter in module.parameters())

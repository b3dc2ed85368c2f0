"""Dropping branches."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import nn

from .draws import Draws

CRITERIA = ('random', 'norm', 'merge')


def check_criterion(criterion: str) -> None:
    """Refuse an unknown criterion with a ValueError."""
    if criterion not in CRITERIA:
        raise ValueError(f'criterion={criterion!r} is unknown: use one of {CRITERIA}.')


def prune(
    draws: Draws, num: int, criterion: str, min_branches: int, averages: Sequence[Draws]
) -> None:
    """Drop branches of all adapters; see :meth:`DMLoRAModel.prune_branches`.

    Args:
        draws: Those of the wrapper.
        num: How many down and how many up branches each adapter drops.
        criterion: One of :data:`CRITERIA`.
        min_branches: What each adapter keeps at least.
        averages: Those of averages of the wrapper, which drop the same branches.
    """
    draws.sync()
    seed = int(draws.seed)
    for row, (name, adapter) in enumerate(
        zip(draws.names, draws.adapters(), strict=True)
    ):
        for kind, indices in zip(('down', 'up'), adapter.active_indices, strict=True):
            active = list(indices)
            for _ in range(min(num, len(active) - min_branches)):
                rng = random.Random(f'{seed}/prune/{len(active)}/{name}/{kind}')
                branches: nn.ParameterList = getattr(adapter, kind)
                dropped = _choose(branches, active, criterion, rng)
                active.remove(dropped)
                for each in (draws, *averages):
                    if criterion == 'merge':
                        _fold(getattr(each.adapters()[row], kind), dropped, active)
                    each.drop(row, kind, dropped)


def _choose(
    branches: nn.ParameterList, active: list[int], criterion: str, rng: random.Random
) -> int:
    if criterion == 'norm':
        norms = torch.stack([branches[i].norm() for i in active])
        return active[int(norms.argmin())]
    return rng.choice(active)


def _fold(branches: nn.ParameterList, dropped: int, survivors: list[int]) -> None:
    """Shift the survivors so that their mean is the one with the dropped branch."""
    remaining = [branches[i] for i in survivors]
    shift = (branches[dropped] - torch.stack(remaining).mean(0)) / (len(remaining) + 1)
    for branch in remaining:
        branch.add_(shift)

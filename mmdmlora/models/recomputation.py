"""Which forward activation checkpointing repeats while backward runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.autograd.function import BackwardCFunction

_LEAF = torch.zeros((), requires_grad=True)


class Interval(NamedTuple):
    """When a forward ran, in the count of :func:`now`."""

    start: int
    end: int


class Recomputation(NamedTuple):
    """A part of backward that repeats a forward.

    Attributes:
        task: Number of the backward call.
        node: When the graph's node was made for which the forward is repeated.
        is_function: Whether that node is a function in Python, as the one of
            checkpoints with ``use_reentrant=True`` is.
    """

    task: int
    node: int
    is_function: bool

    def find(self, forwards: Sequence[Interval]) -> int | None:
        """Which of some forwards, oldest first, is repeated.

        A node that a checkpoint saved for was made while the forward ran, or after it
        where more was checkpointed with it: the forward is the last that had started. A
        function in Python makes its node before it runs: it is the first that had not
        ended.

        Returns:
            int or None: Its index. None if it is none of them.
        """
        if self.is_function:
            found = [i for i, forward in enumerate(forwards) if forward.end > self.node]
            return found[0] if found else None
        found = [i for i, forward in enumerate(forwards) if forward.start <= self.node]
        return found[-1] if found else None


def now() -> int:
    """How many nodes of graphs this thread has made."""
    if torch.is_inference_mode_enabled():
        return -1
    with torch.enable_grad():
        node = _LEAF.view(()).grad_fn
        assert node is not None
        return node._sequence_nr()


def current_recomputation() -> Recomputation | None:
    """The recomputation that this code runs in; None outside of backward.

    Relies on ``torch._C._current_autograd_node`` and ``_sequence_nr``, seen in PyTorch
    2.7 to 2.14: public functions that tell this don't exist.
    """
    node = torch._C._current_autograd_node()
    if node is None:
        return None
    task = torch._C._current_graph_task_id()
    return Recomputation(task, node._sequence_nr(), isinstance(node, BackwardCFunction))

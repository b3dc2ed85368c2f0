"""Zeros that clearing in place has left to parameters that are no longer used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Variable

from .nested_tensors import find_tensors


class LeftoverGradients:
    """Drops gradients of zeros before a backward, so that optimizers skip them.

    ``optimizer.zero_grad(set_to_none=False)`` leaves zeros to parameters that earlier
    steps have used. An optimizer would still apply momentum and weight decay to them.
    Before a backward adds the first gradient, all gradients of zeros are leftovers,
    except those that no one has written to since the backward that made them: they are
    being accumulated, and may be zero rightly.

    Args:
        parameters: All that an optimizer may know.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._parameters = frozenset(parameters)
        self._suspects = set(self._parameters)
        self._made: dict[nn.Parameter, tuple[int, int]] = {}
        self._task = -1

    def watch(self, output: Any, used: Iterable[Tensor]) -> None:
        """Act once the backward of a forward runs.

        Args:
            output: What the forward gave, tensors in any nesting.
            used: The matrices that it has used.
        """
        self._suspects |= self._parameters.intersection(used)
        for tensor in find_tensors(output):
            if tensor.requires_grad:
                tensor.register_hook(self._before_backward)

    def _before_backward(self, grad: Tensor) -> None:
        task = torch._C._current_graph_task_id()
        if task == self._task:
            return
        self._task = task
        left = {
            p: p.grad
            for p in self._suspects
            if p.grad is not None and self._made.get(p) != _state(p.grad)
        }
        if left:
            with torch.no_grad():
                sizes = torch._foreach_norm(list(left.values()), float('inf'))
            for parameter, size in zip(left, torch.stack(sizes).tolist(), strict=True):
                if size == 0:
                    parameter.grad = None
        Variable._execution_engine.queue_callback(self._after_backward)

    def _after_backward(self) -> None:
        self._made = {p: _state(p.grad) for p in self._suspects if p.grad is not None}
        self._suspects = set(self._made)


def _state(gradient: Tensor) -> tuple[int, int]:
    return id(gradient), gradient._version

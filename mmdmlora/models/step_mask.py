"""Which parameters an optimizer step may touch.

A branch that wasn't drawn must stay as it is, bit for bit. All branches take part in the
graph, so that distributed training and compilation see the same parameters in every step,
and those that weren't drawn get a gradient of zeros. With it an optimizer would still
apply momentum and weight decay. So before each step of any ``torch.optim`` optimizer the
gradients of parameters that are marked here are dropped; optimizers skip a parameter
without a gradient.

Side effect: importing this module registers that hook for all optimizers of the process
(:func:`torch.optim.optimizer.register_optimizer_step_pre_hook`). It costs one attribute
look-up a parameter and leaves unmarked parameters alone. A plain PyTorch loop therefore
needs no extra line, also where the step is given a closure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

DRAWN = '_peft_drawn'
HELD = '_peft_held'


def mark_drawn(branches: Sequence[nn.Parameter], drawn: Collection[int]) -> None:
    """Let the next optimizer step touch the drawn branches, and no others.

    Marks add up while gradients do: with gradient accumulation a step touches each
    branch that was drawn since the gradients were last cleared.
    """
    for index, parameter in enumerate(branches):
        if index in drawn:
            setattr(parameter, DRAWN, True)
        elif parameter.grad is None:
            setattr(parameter, DRAWN, False)


def hold(parameters: Sequence[nn.Parameter], held: bool) -> None:
    """Keep optimizer steps from touching parameters until they are released again.

    Unlike ``requires_grad = False`` this doesn't change which parameters distributed
    training expects to take part.
    """
    for parameter in parameters:
        setattr(parameter, HELD, held)


def _mask_step(
    optimizer: Optimizer, args: tuple, kwargs: dict[str, Any]
) -> tuple[tuple, dict[str, Any]] | None:
    """Drop gradients: now, or after a closure has computed them within the step."""
    closure = kwargs.get('closure', args[1] if len(args) > 1 else None)
    if closure is None:
        _drop_gradients(optimizer)
        return None

    def masked() -> Any:
        loss = closure()
        _drop_gradients(optimizer)
        return loss

    return args[:1], {**kwargs, 'closure': masked}


def _drop_gradients(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group['params']:
            drawn = getattr(parameter, DRAWN, True)
            if not drawn or getattr(parameter, HELD, False):
                parameter.grad = None
            if hasattr(parameter, DRAWN):
                setattr(parameter, DRAWN, False)


register_optimizer_step_pre_hook(_mask_step)

"""Low-rank branches and their scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..argument_checks import is_count, is_rate, is_scale

if TYPE_CHECKING:
    from ..draws import Draws

Active = tuple[tuple[int, ...], tuple[int, ...]]


class MixLoRA(nn.Module):
    r"""A mixture of low-rank branches: the update of a linear map.

    With :math:`n` down branches :math:`A_i` and up branches :math:`B_j` the update is

    .. math::
        \Delta y = s\, B_j A_i x \quad\text{(training)}, \qquad
        \Delta y = s\, \bar B \bar A\, x \quad\text{(inference)},

    where :math:`i` and :math:`j` are drawn independently and uniformly from the active
    branches, and :math:`\bar A, \bar B` are the means over them. As the two draws are
    independent, :math:`E[B_j A_i] = E[B_j] E[A_i] = \bar B \bar A`: inference uses
    exactly the expected training output of the layer, and it folds into the weight.
    With one branch this is LoRA.

    This class holds the matrices. What is drawn is the business of
    :class:`~mmdmlora.models.draws.Draws`, the arithmetic that of
    :class:`~mmdmlora.models.layers.adapted_layer.AdaptedLayer`.

    Args:
        in_features (int): Size of the input.
        out_features (int): Size of the output.
        rank (int): Rank of each branch, at most the smaller of the two sizes.
        num_branches (int): Number n of down and of up branches. Defaults to 1.
        scale (float): Initial scale s. Defaults to 1.
        drop_rate (float): Dropout of the input of the branches. Defaults to 0.
        learn_scale (bool): Whether s is trained, through its logarithm (so it stays
            positive and its step is relative). Defaults to False.

    Raises:
        ValueError: If an argument is out of its range.

    Note:
        State: ``down.<i>`` ``(rank, in)``, ``up.<j>`` ``(out, rank)``, ``log_scale``
        ``()``. A fixed scale is a number of the host; its logarithm is saved and loaded
        all the same. Pruned branches keep their place: the parameters that an optimizer,
        an average or distributed training know never change.

    Source:
        DMLoRA (ECCV 2024), supplement Sec. 2 and 9. Each A is drawn from Kaiming's
        uniform distribution and each B is zero, as in LoRA (arXiv:2106.09685), so that
        training starts from the frozen backbone.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        num_branches: int = 1,
        scale: float = 1.0,
        drop_rate: float = 0.0,
        learn_scale: bool = False,
    ) -> None:
        super().__init__()
        limit = min(in_features, out_features)
        if not (is_count(rank) and rank <= limit):
            raise ValueError(
                f'rank={rank} is not in 1..{limit} for a layer of {in_features} to '
                f'{out_features} features: set a whole number of that range.'
            )
        if not is_count(num_branches):
            raise ValueError(
                f'num_branches={num_branches} is no whole number above 0: set 1 for '
                'LoRA, or the 4 to 8 of the paper.'
            )
        if not is_scale(scale):
            raise ValueError(
                f'scale={scale} is no positive number: set one, such as 1.0 or 10.0. '
                '(0 would switch the adapter off for good.)'
            )
        if not is_rate(drop_rate):
            raise ValueError(
                f'drop_rate={drop_rate} is not in [0, 1): set 0 for no dropout, or a '
                'share such as 0.1.'
            )
        self.down = nn.ParameterList(
            nn.Parameter(torch.empty(rank, in_features)) for _ in range(num_branches)
        )
        self.up = nn.ParameterList(
            nn.Parameter(torch.zeros(out_features, rank)) for _ in range(num_branches)
        )
        for branch in self.down:
            nn.init.kaiming_uniform_(branch, a=math.sqrt(5))
        self.learn_scale = learn_scale
        # In single precision, as it is saved: a resumed run must have the same.
        self.fixed_log_scale = float(np.float32(math.log(scale)))
        if learn_scale:
            self.log_scale = nn.Parameter(torch.tensor(self.fixed_log_scale))
        self.dropout = nn.Dropout(drop_rate)
        self.active_indices: Active = (tuple(range(num_branches)),) * 2
        self.draws: Draws | None = None
        self.holds_branches = self.holds_scale = False

    @property
    def scale(self) -> Tensor:
        """The scale s, a tensor without dimensions."""
        if self.learn_scale:
            return self.log_scale.exp()
        return self.down[0].new_tensor(self.fixed_scale)

    @property
    def fixed_scale(self) -> float:
        """The scale s as a number, where it isn't learned."""
        return math.exp(self.fixed_log_scale)

    def trained_scale(self) -> Tensor:
        """The scale as training uses it: without a gradient while it is held."""
        log_scale = self.log_scale.detach() if self.holds_scale else self.log_scale
        return log_scale.exp()

    def mean(self) -> tuple[Tensor, Tensor]:
        """The means of the active branches, ``(rank, in)`` and ``(out, rank)``."""
        down, up = self.active_indices
        return _mean([self.down[i] for i in down]), _mean([self.up[j] for j in up])

    def active(self) -> tuple[list[int], list[int]]:
        """Indices of the active down and up branches."""
        self._sync()
        down, up = self.active_indices
        return list(down), list(up)

    def branches(self) -> tuple[Tensor, Tensor]:
        """The active branches, ``(n, rank, in)`` and ``(n, out, rank)``."""
        down, up = self.active()
        return (
            torch.stack([self.down[i] for i in down]),
            torch.stack([self.up[j] for j in up]),
        )

    @torch.no_grad()
    def delta_weight(self) -> Tensor:
        """What inference adds to the weight, ``(out, in)``."""
        self._sync()
        down, up = self.mean()
        return self.scale * (up @ down)

    def hold(self, branches: bool, scale: bool) -> None:
        """Keep training from changing the branches, the scale, or both.

        What is held gets no gradient: optimizers, gradient clipping and averages of
        gradients pass over it. A gradient that it still has is dropped.
        """
        self.holds_branches, self.holds_scale = branches, scale
        held = [*self.down, *self.up] if branches else []
        if scale and self.learn_scale:
            held.append(self.log_scale)
        for parameter in held:
            parameter.grad = None

    def _sync(self) -> None:
        if self.draws is not None:
            self.draws.sync()

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if not self.learn_scale:
            destination[prefix + 'log_scale'] = torch.tensor(self.fixed_log_scale)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Tensor],
        prefix: str,
        local_metadata: dict,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        name = prefix + 'log_scale'
        if not self.learn_scale:
            if name in state_dict:
                self.fixed_log_scale = float(state_dict[name])
            elif strict:
                missing_keys.append(name)
        super()._load_from_state_dict(
            state_dict,
            prefix,
            local_metadata,
            strict,
            missing_keys,
            unexpected_keys,
            error_msgs,
        )
        if not self.learn_scale and name in unexpected_keys:
            unexpected_keys.remove(name)

    def extra_repr(self) -> str:
        rank, in_features = self.down[0].shape
        return (
            f'{in_features} -> {rank} -> {len(self.up[0])}, branches={len(self.down)}, '
            f'learn_scale={self.learn_scale}'
        )


def _mean(branches: Sequence[Tensor]) -> Tensor:
    return branches[0] if len(branches) == 1 else torch.stack(tuple(branches)).mean(0)

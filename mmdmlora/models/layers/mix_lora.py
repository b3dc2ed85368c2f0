"""Low-rank adapters with several branches, and the layers that carry them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..argument_checks import is_count, is_rate, is_scale
from ..step_mask import hold, mark_drawn
from ..targets import PARTS


class MixLoRA(nn.Module):
    r"""A mixture of low-rank branches beside a linear map.

    With :math:`n` down branches :math:`A_i` and up branches :math:`B_j` the update is

    .. math::
        \Delta y = s\, B_j A_i x \quad\text{(training)}, \qquad
        \Delta y = s\, \bar B \bar A\, x \quad\text{(inference)},

    where :math:`(i, j)` is drawn anew in each step for the whole batch, independently
    and uniformly from the active branches, and :math:`\bar A, \bar B` are the means over
    them. As the two draws are independent, :math:`E[B_j A_i] = E[B_j] E[A_i] =
    \bar B \bar A`: inference uses exactly the expected training output of the layer, and
    it folds into the weight. With one branch this is LoRA.

    Args:
        in_features (int): Size of the input.
        out_features (int): Size of the output.
        rank (int): Rank of each branch, at most the smaller of the two sizes.
        num_branches (int): Number n of down and of up branches. Defaults to 1.
        scale (float): Initial scale s. Defaults to 1.
        drop_rate (float): Dropout of the input of the branches. Defaults to 0.
        learn_scale (bool): Whether s is trained, through its logarithm (so it stays
            positive and its step is relative). Defaults to False.

    Shape:
        - x: ``(..., in_features)``, or what ``project`` takes.
        - output: ``(..., out_features)``.

    Raises:
        ValueError: If an argument is out of its range.

    Note:
        State: ``down.<i>`` ``(rank, in)``, ``up.<j>`` ``(out, rank)``, ``log_scale``
        ``()``, and with several branches the masks ``down_active`` and ``up_active``
        ``(n,)``. Pruned branches keep their place: the parameters that an optimizer,
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
        log_scale = torch.tensor(math.log(scale))
        if learn_scale:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer('log_scale', log_scale)
        if num_branches > 1:
            self.register_buffer('down_active', torch.ones(num_branches).bool())
            self.register_buffer('up_active', torch.ones(num_branches).bool())
        self.dropout = nn.Dropout(drop_rate)
        self.learn_scale = learn_scale
        # The pair in use, int64 (2,), on the branches' device. Replaced, never written
        # to: backward reads it.
        self.drawn: Tensor | None = None

    @property
    def scale(self) -> Tensor:
        """The scale s, a tensor without dimensions."""
        return self.log_scale.exp()

    def active(self) -> tuple[list[int], list[int]]:
        """Indices of the active down and up branches (reads them from the device)."""
        if len(self.down) == 1:
            return [0], [0]
        return tuple(
            mask.nonzero().flatten().tolist()
            for mask in (self.down_active, self.up_active)
        )

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
        down, up = self._mean()
        return self.scale * (up @ down)

    def forward(
        self, x: Tensor, project: Callable[[Tensor, Tensor], Tensor] = F.linear
    ) -> Tensor:
        down, up = self._drawn() if self.training else self._mean()
        x = project(self.dropout(x), self.scale * down)
        return project(x, up)

    def mark_drawn(self, down: int, up: int) -> None:
        """Let the next optimizer step touch this pair of branches."""
        mark_drawn(self.down, {down})
        mark_drawn(self.up, {up})

    def hold(self, branches: bool, scale: bool) -> None:
        """Keep optimizer steps from touching the branches, the scale, or both."""
        hold([*self.down, *self.up], branches)
        if self.learn_scale:
            hold([self.log_scale], scale)

    def _drawn(self) -> tuple[Tensor, Tensor]:
        if len(self.down) == 1:
            return self.down[0], self.up[0]
        assert self.drawn is not None, 'branches are drawn by the wrapper: call that'
        return (
            torch.stack(tuple(self.down)).index_select(0, self.drawn[:1]).squeeze(0),
            torch.stack(tuple(self.up)).index_select(0, self.drawn[1:]).squeeze(0),
        )

    def _mean(self) -> tuple[Tensor, Tensor]:
        if len(self.down) == 1:
            return self.down[0], self.up[0]
        return _masked_mean(self.down, self.down_active), _masked_mean(
            self.up, self.up_active
        )

    def extra_repr(self) -> str:
        rank, in_features = self.down[0].shape
        return (
            f'{in_features} -> {rank} -> {len(self.up[0])}, branches={len(self.down)}, '
            f'learn_scale={self.learn_scale}'
        )


def _masked_mean(branches: Iterable[Tensor], active: Tensor) -> Tensor:
    stacked = torch.stack(tuple(branches))
    weights = active.to(stacked) / active.sum()
    return torch.tensordot(weights, stacked, dims=1)


class AdaptedLayer(nn.Module):
    """A frozen linear layer with an adapter for all of its output rows or for parts.

    Args:
        layer (nn.Linear | nn.Conv2d): The layer, a 1x1 one if a convolution.
        adapters (dict[str, MixLoRA]): One adapter under the key ``all``, or one for each
            adapted part of a fused qkv under ``q``, ``k`` or ``v``.

    Shape:
        As the layer's.
    """

    def __init__(
        self, layer: nn.Linear | nn.Conv2d, adapters: dict[str, MixLoRA]
    ) -> None:
        super().__init__()
        self.original = layer
        self.adapters = nn.ModuleDict(adapters)
        self.is_conv = isinstance(layer, nn.Conv2d)

    def forward(self, x: Tensor) -> Tensor:
        y = self.original(x)
        project = _conv1x1 if self.is_conv else F.linear
        if 'all' in self.adapters:
            return y + self.adapters['all'](x, project)
        dim = 1 if self.is_conv else -1
        thirds = list(y.chunk(3, dim))
        for part, adapter in self.adapters.items():
            index = PARTS.index(part)
            thirds[index] = thirds[index] + adapter(x, project)
        return torch.cat(thirds, dim)

    @torch.no_grad()
    def merge(self) -> nn.Linear | nn.Conv2d:
        """Fold the adapters into the layer, in place, and return the layer."""
        for part, adapter in self.adapters.items():
            weight = self.original.weight
            if part != 'all':
                weight = weight.chunk(3)[PARTS.index(part)]
            delta = adapter.delta_weight().view_as(weight)
            weight.copy_(weight.to(delta) + delta)
        return self.original


def _conv1x1(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight[:, :, None, None])

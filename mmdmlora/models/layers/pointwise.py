"""A linear map of the channels at each point."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Pointwise(nn.Module):
    r"""A linear map of the channels at each point, in independent groups of channels.

    .. math::
        y = \operatorname{diag}(W_1, \ldots, W_g)\, x + b

    Args:
        in_channels (int): Size of the input; ``groups`` divides it.
        out_channels (int): Size of the output; ``groups`` divides it.
        groups (int): Number g of groups. Defaults to 1.
        channels_first (bool): Whether the channels are dimension 1, not the last one.
            Defaults to False.

    Shape:
        - x: ``(..., in_channels)``, or ``(N, in_channels, H, W)`` with channels first.
        - output: the same with ``out_channels``.

    Note:
        State: ``weight`` ``(out_channels, in_channels / groups)``, with the rows of
        :math:`W_1` on top, and ``bias``, both zero at the start; the same for either
        layout.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: int = 1,
        channels_first: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels // groups))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.groups = groups
        self.channels_first = channels_first

    def dense(self) -> Tensor:
        """The whole matrix, ``(out_channels, in_channels)``."""
        if self.groups == 1:
            return self.weight
        return torch.block_diag(*self.weight.chunk(self.groups))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.dense()
        if self.channels_first:
            return F.conv2d(x, weight[:, :, None, None], self.bias)
        return F.linear(x, weight, self.bias)

    def extra_repr(self) -> str:
        out_channels, columns = self.weight.shape
        return f'{columns * self.groups} -> {out_channels}, groups={self.groups}'

"""The linear bottleneck of RepAdapter, and the layer that carries it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..argument_checks import is_count, is_rate, is_scale
from ..targets import is_linear
from .inserted_layer import InsertedLayer
from .pointwise import Pointwise


class RepAdapter(nn.Module):
    r"""A linear bottleneck with a residual connection.

    .. math::
        y = x + s\, (B (A x + b_A) + b_B), \qquad
        A \in R^{r \times d},\ B = \operatorname{diag}(B_1, \ldots, B_g)

    with dropout between A and B in training.

    Args:
        channels (int): Number d of channels.
        dim (int): Size r of the bottleneck. Defaults to 8.
        groups (int): Number g of groups of B. Defaults to 2.
        scale (float): The scale s. Defaults to 1.
        drop_rate (float): Dropout inside the bottleneck. Defaults to 0.1.
        channels_first (bool): Whether the channels are dimension 1. Defaults to False.

    Shape:
        - x: ``(..., d)``, or ``(N, d, H, W)`` with channels first.
        - output: as x.

    Raises:
        ValueError: If an argument is out of its range.

    Note:
        State: ``down.weight`` ``(r, d)``, ``down.bias`` ``(r,)``, ``up.weight``
        ``(d, r / g)``, ``up.bias`` ``(d,)`` and the buffer ``scale`` ``()``, so that a
        checkpoint keeps the scale that it was trained with.

    Source:
        `RepAdapter <https://arxiv.org/abs/2302.08106>`_ and its authors' code: A from
        Xavier's uniform distribution, all else zero, so that training starts from the
        frozen backbone.
    """

    def __init__(
        self,
        channels: int,
        dim: int = 8,
        groups: int = 2,
        scale: float = 1.0,
        drop_rate: float = 0.1,
        channels_first: bool = False,
    ) -> None:
        super().__init__()
        if not (is_count(dim) and dim <= channels):
            raise ValueError(f'dim={dim} is not in 1..{channels}, the channels there.')
        if not is_count(groups) or dim % groups or channels % groups:
            raise ValueError(
                f'groups={groups} does not divide dim={dim} and the {channels} channels.'
            )
        if not is_scale(scale):
            raise ValueError(f'scale={scale} is not positive.')
        if not is_rate(drop_rate):
            raise ValueError(f'drop_rate={drop_rate} is not in [0, 1).')
        self.down = Pointwise(channels, dim, channels_first=channels_first)
        self.dropout = nn.Dropout(drop_rate)
        self.up = Pointwise(dim, channels, groups, channels_first)
        nn.init.xavier_uniform_(self.down.weight)
        self.register_buffer('scale', torch.tensor(float(scale)))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.up(self.dropout(self.down(x)))


class RepAdaptedLayer(InsertedLayer):
    """A frozen layer behind a :class:`RepAdapter`.

    Args:
        layer (nn.Linear | nn.Conv2d): The layer.
        adapter (RepAdapter): What its input passes first.

    Shape:
        As the layer's.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, adapter: RepAdapter) -> None:
        super().__init__(layer)
        self.adapter = adapter

    def adapted(self, x: Tensor) -> Tensor:
        return self.original(self.adapter(x))

    @torch.no_grad()
    def merge(self) -> nn.Linear | nn.Conv2d:
        r"""Fold the adapter into the layer, in place, and return the layer.

        .. math::
            W' = W (I + s B A), \qquad b' = b + W s (B b_A + b_B)

        Raises:
            ValueError: If no weight and bias of the layer equal the two together.
        """
        layer, down, up = self.original, self.adapter.down, self.adapter.up
        if not is_linear(layer):
            raise ValueError(
                'an adapter before a depthwise convolution has no merged form: it mixes '
                'channels, which a depthwise convolution cannot, and the zero padding '
                'comes after its biases, so that the borders differ. Leave that place '
                "out: targets=[dict(type='pointwise_conv1')]."
            )
        if layer.bias is None:
            raise ValueError(
                'the layer has no bias that could take those of the adapter: build the '
                'backbone with one (qkv_bias=True).'
            )
        weight = layer.weight.flatten(1).to(down.weight)
        scaled = self.adapter.scale * weight
        hidden = scaled @ up.dense()
        bias = layer.bias.to(down.bias) + hidden @ down.bias + scaled @ up.bias
        layer.weight.copy_((weight + hidden @ down.weight).view_as(layer.weight))
        layer.bias.copy_(bias)
        return layer

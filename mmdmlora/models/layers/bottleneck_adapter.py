"""The bottleneck adapter, and the layer that carries it."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from ..argument_checks import is_count, is_rate
from .inserted_layer import InsertedLayer
from .pointwise import Pointwise


class BottleneckAdapter(nn.Module):
    r"""A bottleneck with a residual connection.

    .. math::
        y = x + U \operatorname{GELU}(D x + b_D) + b_U, \qquad
        D \in R^{r \times d},\ U \in R^{d \times r}

    Args:
        channels (int): Number d of channels.
        dim (int): Size r of the bottleneck. Defaults to 8.
        drop_rate (float): Dropout of the hidden features. Defaults to 0.
        channels_first (bool): Whether the channels are dimension 1. Defaults to False.

    Shape:
        - x: ``(..., d)``, or ``(N, d, H, W)`` with channels first.
        - output: as x.

    Raises:
        ValueError: If an argument is out of its range.

    Note:
        State: ``down.weight`` ``(r, d)``, ``down.bias`` ``(r,)``, ``up.weight``
        ``(d, r)``, ``up.bias`` ``(d,)``.

    Source:
        Houlsby et al. (arXiv:1902.00751), with GELU. D from Kaiming's uniform
        distribution and all else zero, as in He et al. (arXiv:2110.04366): it starts as
        the identity and still learns, which it wouldn't with D zero too.
    """

    def __init__(
        self,
        channels: int,
        dim: int = 8,
        drop_rate: float = 0.0,
        channels_first: bool = False,
    ) -> None:
        super().__init__()
        if not (is_count(dim) and dim <= channels):
            raise ValueError(f'dim={dim} is not in 1..{channels}, the channels there.')
        if not is_rate(drop_rate):
            raise ValueError(f'drop_rate={drop_rate} is not in [0, 1).')
        self.down = Pointwise(channels, dim, channels_first=channels_first)
        self.dropout = nn.Dropout(drop_rate)
        self.up = Pointwise(dim, channels, channels_first=channels_first)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(self.dropout(F.gelu(self.down(x))))


class LayerWithAdapter(InsertedLayer):
    """A frozen layer before a :class:`BottleneckAdapter`.

    Args:
        layer (nn.Linear | nn.Conv2d): The layer.
        adapter (BottleneckAdapter): What its output passes.

    Shape:
        As the layer's.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, adapter: BottleneckAdapter) -> None:
        super().__init__(layer)
        self.adapter = adapter

    def adapted(self, x: Tensor) -> Tensor:
        return self.adapter(self.original(x))

    def merge(self) -> nn.Module:
        """Refused.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            'with the GELU between its projections an adapter is not linear, so that no '
            'weights of a neighbouring layer equal it'
        )

"""Bottleneck adapters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mmdmlora.registry import MODELS

from .options import is_count, is_rate
from .peft_model import PEFTModel
from .places import Pointwise, find_places

PLACEMENTS = dict(houlsby=('attention_out', 'mlp_out'), pfeiffer=('mlp_out',))


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


class LayerWithAdapter(nn.Module):
    """A frozen layer before a :class:`BottleneckAdapter`.

    Args:
        layer (nn.Linear | nn.Conv2d): The layer.
        adapter (BottleneckAdapter): What its output passes.

    Shape:
        As the layer's.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, adapter: BottleneckAdapter) -> None:
        super().__init__()
        self.original = layer
        self.adapter = adapter

    def forward(self, x: Tensor) -> Tensor:
        return self.adapter(self.original(x))


@MODELS.register_module()
class AdapterModel(PEFTModel):
    r"""Adapters: :math:`h + U \operatorname{GELU}(D h)` behind the layers that write.

    They stand inside the residual branches: ``'houlsby'`` behind the attention's output
    projection and behind the MLP, ``'pfeiffer'`` behind the MLP only. ConvNeXt has no
    attention, so that ``'houlsby'`` is refused there. A layer scale comes after them.

    Args:
        module (dict): Config of the backbone.
        dim (int): Size of the bottleneck. Defaults to 8.
        placement (str): 'houlsby' or 'pfeiffer'. Defaults to 'pfeiffer'.
        drop_rate (float): Dropout of the hidden features. Defaults to 0.
        targets (Sequence[dict], optional): The linear layers behind which adapters
            stand, see :func:`~mmdmlora.models.targets.find_targets`, instead of the
            placement's.

    Raises:
        ValueError: If an argument is out of range, the backbone lacks a place or a
            target doesn't fit.

    Note:
        An adapter isn't linear, so it can't be merged.

    Source:
        `Houlsby et al. <https://arxiv.org/abs/1902.00751>`_ and
        `Pfeiffer et al. <https://arxiv.org/abs/2005.00247>`_, without the layer norms
        that they train with them. 156,768 parameters on ViT-B/16 by default, 313,536
        with 'houlsby'.
    """

    def __init__(
        self,
        module: dict,
        dim: int = 8,
        placement: str = 'pfeiffer',
        drop_rate: float = 0.0,
        targets: Sequence[dict] | None = None,
    ) -> None:
        if placement not in tuple(PLACEMENTS):
            raise ValueError(f'placement={placement!r} is none of {[*PLACEMENTS]}.')
        super().__init__(module)
        options = dict(dim=dim, drop_rate=drop_rate)
        adapters = {}
        for target in find_places(self.module, PLACEMENTS[placement], targets, options):
            layer = target.layer
            is_conv = isinstance(layer, nn.Conv2d)
            adapter = adapters[target.name] = BottleneckAdapter(
                layer.out_channels if is_conv else layer.out_features,
                channels_first=is_conv,
                **{**options, **target.overrides},
            )
            self.module.set_submodule(
                target.name, LayerWithAdapter(layer, adapter), strict=True
            )
        self._register(adapters)

    def _fold(self, backbone: nn.Module) -> None:
        raise ValueError(
            'AdapterModel has no merged form: with the GELU between its projections an '
            'adapter is not linear, so that no weights of a neighbouring layer equal it.'
        )

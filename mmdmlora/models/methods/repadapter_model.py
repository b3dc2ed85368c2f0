"""RepAdapter."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mmdmlora.registry import MODELS

from ..backbones import find_places
from ..layers.rep_adapter import RepAdaptedLayer, RepAdapter
from ..peft_model import PEFTModel
from ..targets import Target


@MODELS.register_module()
class RepAdapterModel(PEFTModel):
    r"""RepAdapter: :math:`x + s\, B(A(x))` before the layers that read the features.

    Adapters stand before the attention and before the MLP of each block, in ConvNeXt
    before the depthwise convolution and before the MLP's first layer.

    Args:
        module (dict | nn.Module): The backbone or its config.
        dim (int): Size of the bottleneck. Defaults to 8.
        groups (int): Number of groups of B. Defaults to 2.
        scale (float): The scale s. Defaults to 1.
        drop_rate (float): Dropout inside the bottleneck. Defaults to 0.1.
        targets (Sequence[dict], optional): The linear layers before which adapters
            stand, see :func:`~mmdmlora.models.targets.find_targets`. Defaults to the
            places above.
        frozen_dtype (str, optional): ``'bfloat16'`` keeps frozen weights in it, see
            :meth:`~mmdmlora.models.execution.Execution.cast_frozen`. Defaults to None.

    Raises:
        ValueError: If an argument is out of range or a target doesn't fit.

    Note:
        - An adapter works point by point, so the one before Swin's attention stands
          inside the windows, directly before the qkv. That is the same, except that
          padded points of a map pass it too: so it merges exactly there as well.
        - :meth:`merge` needs ``targets=[dict(type='pointwise_conv1')]`` on ConvNeXt.

    Source:
        `RepAdapter <https://arxiv.org/abs/2302.08106>`_; 239,808 parameters on ViT-B/16.
        The authors' ConvNeXt block fails for linear pointwise layers; here both layouts
        work.
    """

    def __init__(
        self,
        module: dict | nn.Module,
        dim: int = 8,
        groups: int = 2,
        scale: float = 1.0,
        drop_rate: float = 0.1,
        targets: Sequence[dict] | None = None,
        frozen_dtype: str | None = None,
    ) -> None:
        super().__init__(module, frozen_dtype)
        settings = dict(dim=dim, groups=groups, scale=scale, drop_rate=drop_rate)
        places = ('attention_in', 'mlp_in')

        def adapted(target: Target) -> RepAdaptedLayer:
            layer = target.layer
            is_conv = isinstance(layer, nn.Conv2d)
            adapter = RepAdapter(
                layer.in_channels if is_conv else layer.in_features,
                channels_first=is_conv,
                **{**settings, **target.overrides},
            ).to(layer.weight)
            return RepAdaptedLayer(layer, adapter)

        found = find_places(self.module, places, targets, settings)
        layers = self._insert(found, adapted)
        self._register({name: layer.adapter for name, layer in layers.items()})

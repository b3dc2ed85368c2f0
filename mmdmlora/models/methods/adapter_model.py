"""Bottleneck adapters."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mmdmlora.registry import MODELS

from ..backbones import find_places
from ..layers.bottleneck_adapter import BottleneckAdapter, LayerWithAdapter
from ..peft_model import PEFTModel
from ..targets import Target

PLACEMENTS = dict(houlsby=('attention_out', 'mlp_out'), pfeiffer=('mlp_out',))


@MODELS.register_module()
class AdapterModel(PEFTModel):
    r"""Adapters: :math:`h + U \operatorname{GELU}(D h)` behind the layers that write.

    They stand inside the residual branches: ``'houlsby'`` behind the attention's output
    projection and behind the MLP, ``'pfeiffer'`` behind the MLP only. ConvNeXt has no
    attention, so that ``'houlsby'`` is refused there. A layer scale comes after them.

    Args:
        module (dict | nn.Module): The backbone or its config.
        dim (int): Size of the bottleneck. Defaults to 8.
        placement (str): 'houlsby' or 'pfeiffer'. Defaults to 'pfeiffer'.
        drop_rate (float): Dropout of the hidden features. Defaults to 0.
        targets (Sequence[dict], optional): The linear layers behind which adapters
            stand, see :func:`~mmdmlora.models.targets.find_targets`, instead of the
            placement's.
        frozen_dtype (str, optional): ``'bfloat16'`` keeps frozen weights in it, see
            :meth:`~mmdmlora.models.execution.Execution.cast_frozen`. Defaults to None.

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
        module: dict | nn.Module,
        dim: int = 8,
        placement: str = 'pfeiffer',
        drop_rate: float = 0.0,
        targets: Sequence[dict] | None = None,
        frozen_dtype: str | None = None,
    ) -> None:
        if placement not in tuple(PLACEMENTS):
            raise ValueError(f'placement={placement!r} is none of {[*PLACEMENTS]}.')
        super().__init__(module, frozen_dtype)
        settings = dict(dim=dim, drop_rate=drop_rate)
        found = find_places(self.module, PLACEMENTS[placement], targets, settings)

        def adapted(target: Target) -> LayerWithAdapter:
            layer = target.layer
            is_conv = isinstance(layer, nn.Conv2d)
            adapter = BottleneckAdapter(
                layer.out_channels if is_conv else layer.out_features,
                channels_first=is_conv,
                **{**settings, **target.overrides},
            ).to(layer.weight)
            return LayerWithAdapter(layer, adapter)

        layers = self._insert(found, adapted)
        self._register({name: layer.adapter for name, layer in layers.items()})

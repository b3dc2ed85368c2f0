"""What the methods with low-rank adapters share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ..drawing import named_adapters
from ..layers.adapted_layer import AdaptedLayer
from ..layers.mix_lora import MixLoRA
from ..low_rank_places import default_low_rank_targets
from ..peft_model import PEFTModel
from ..targets import Target, find_targets


class LowRankModel(PEFTModel):
    """A backbone with a :class:`~mmdmlora.models.layers.mix_lora.MixLoRA` at each target.

    Args:
        module (dict | nn.Module): The backbone or its config.
        targets (Sequence[dict], optional): See
            :func:`~mmdmlora.models.targets.find_targets`. None means the paper's places,
            see :func:`~mmdmlora.models.low_rank_places.default_low_rank_targets`.
        frozen_dtype (str, optional): As in :class:`PEFTModel`. Defaults to None.
        **settings: Options of :class:`~mmdmlora.models.layers.mix_lora.MixLoRA`, which a
            target may override.
    """

    adapters: dict[str, MixLoRA]
    _replica_fault = 'replicas get no lists of parameters'

    def __init__(
        self,
        module: dict | nn.Module,
        targets: Sequence[dict] | None,
        frozen_dtype: str | None = None,
        **settings: float,
    ) -> None:
        super().__init__(module, frozen_dtype)
        if targets is None:
            targets = default_low_rank_targets(self.module)

        def adapted(target: Target) -> AdaptedLayer:
            device = target.layer.weight.device
            rows, columns = target.layer.weight.shape[:2]
            size = (columns, rows // 3 if target.parts else rows)
            return AdaptedLayer(
                target.layer,
                {
                    part: MixLoRA(*size, **{**settings, **target.overrides}).to(device)
                    for part in target.parts or ('all',)
                },
            )

        layers = self._insert(find_targets(self.module, targets, settings), adapted)
        self._adapted_layers = layers
        self._register(dict(named_adapters(layers)))

    def adapted_layers(self) -> dict[str, AdaptedLayer]:
        """The layers with adapters, by their paths in the backbone."""
        return dict(self._adapted_layers)

    @property
    def needs_find_unused_parameters(self) -> bool:
        """Scales that are held in a stage of their training get no gradient."""
        return bool(self.scale_parameters())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The trained parameters in groups: the scales by themselves, without decay."""
        scales = self.scale_parameters()
        apart = {id(scale) for scale in scales}
        others = [p for p in self.trainable_parameters() if id(p) not in apart]
        groups: list[dict[str, Any]] = [
            dict(params=others),
            dict(params=scales, weight_decay=0.0),
        ]
        return [group for group in groups if group['params']]

    def scales(self) -> dict[str, float]:
        """The scale of each adapter."""
        return {name: float(a.scale.detach()) for name, a in self.adapters.items()}

    def scale_parameters(self) -> list[nn.Parameter]:
        """The trained logarithms of the scales: give them no weight decay."""
        return [a.log_scale for a in self.adapters.values() if a.learn_scale]

    def set_trained(self, branches: bool, scales: bool) -> None:
        """Choose what training changes from now on. The rest gets no gradient.

        Raises:
            ValueError: If ``scales`` is asked for but none is trainable.
        """
        if scales and not self.scale_parameters():
            raise ValueError(
                'the scales are fixed: build the model with learn_scale=True.'
            )
        for adapter in self.adapters.values():
            adapter.hold(branches=not branches, scale=not scales)

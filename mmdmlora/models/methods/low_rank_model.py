"""What the methods with low-rank adapters share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..layers.mix_lora import AdaptedLayer, MixLoRA
from ..peft_model import PEFTModel
from ..targets import find_targets, is_linear

PAPER_TARGETS = (
    dict(type='qkv', parts=('q', 'v')),
    dict(type='pointwise_conv1'),
)


def paper_targets(backbone: nn.Module) -> list[dict]:
    """The paper's places: q and v of each fused qkv, and ConvNeXt's first linear layer.

    Raises:
        ValueError: If the backbone has neither.
    """
    names = [name for name, layer in backbone.named_modules() if is_linear(layer)]
    targets = [
        target
        for target in PAPER_TARGETS
        if any(name.endswith(target['type']) for name in names)
    ]
    if not targets:
        raise ValueError(
            f'{type(backbone).__name__} has no fused qkv and no pointwise_conv1: name '
            "the layers to adapt, e.g. targets=[dict(type='fc1')]."
        )
    return targets


class LowRankModel(PEFTModel):
    """A backbone with a :class:`~mmdmlora.models.layers.mix_lora.MixLoRA` at each target.

    Args:
        module (dict): Config of the backbone.
        targets (Sequence[dict], optional): See
            :func:`~mmdmlora.models.targets.find_targets`. None means the paper's places:
            q and v of fused qkv layers, ConvNeXt's ``pointwise_conv1``.
        **options: Options of :class:`~mmdmlora.models.layers.mix_lora.MixLoRA`, which a
            target
            may override.
    """

    adapters: dict[str, MixLoRA]

    def __init__(
        self, module: dict, targets: Sequence[dict] | None, **options: float
    ) -> None:
        super().__init__(module)
        if targets is None:
            targets = paper_targets(self.module)
        adapters = {}
        for target in find_targets(self.module, targets, options):
            rows, columns = target.layer.weight.shape[:2]
            parts = target.parts or ('all',)
            size = (columns, rows // 3 if target.parts else rows)
            settings = {**options, **target.overrides}
            inserted = {part: MixLoRA(*size, **settings) for part in parts}
            self.module.set_submodule(
                target.name, AdaptedLayer(target.layer, inserted), strict=True
            )
            for part, adapter in inserted.items():
                suffix = f'.{part}' if target.parts else ''
                adapters[target.name + suffix] = adapter
        self._register(adapters)

    def scales(self) -> dict[str, float]:
        """The scale of each adapter."""
        return {name: float(a.scale.detach()) for name, a in self.adapters.items()}

    def scale_parameters(self) -> list[nn.Parameter]:
        """The trained logarithms of the scales: give them no weight decay."""
        return [a.log_scale for a in self.adapters.values() if a.learn_scale]

    def set_trained(self, branches: bool, scales: bool) -> None:
        """Choose what optimizer steps change from now on.

        Raises:
            ValueError: If ``scales`` is asked for but none is trainable.
        """
        if scales and not self.scale_parameters():
            raise ValueError(
                'the scales are fixed: build the model with learn_scale=True.'
            )
        for adapter in self.adapters.values():
            adapter.hold(branches=not branches, scale=not scales)

    def _fold(self, backbone: nn.Module) -> None:
        for name, layer in list(backbone.named_modules()):
            if isinstance(layer, AdaptedLayer):
                backbone.set_submodule(name, layer.merge(), strict=True)

"""A frozen linear layer with low-rank updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..targets import PARTS
from .inserted_layer import InsertedLayer
from .low_rank_update import Routing, Rows, add_low_rank, without_autocast
from .mix_lora import MixLoRA

if TYPE_CHECKING:
    from ..draws import Draws

# For each part: its down matrices, its up matrices; for all of them: the routing.
Paths = tuple[
    tuple[tuple[Tensor, ...], ...], tuple[tuple[Tensor, ...], ...], Routing | None
]


class AdaptedLayer(InsertedLayer):
    """A frozen linear layer with an update for all of its output rows or for parts.

    Args:
        layer (nn.Linear | nn.Conv2d): The layer, a 1x1 one if a convolution.
        adapters (dict[str, MixLoRA]): One adapter under the key ``all``, or one for each
            adapted part of a fused qkv under ``q``, ``k`` or ``v``.

    Attributes:
        paths: What a training forward uses: the drawn matrices themselves, set by
            :class:`~mmdmlora.models.draws.Draws` while the wrapper's forward runs.

    Shape:
        As the layer's.

    Raises:
        RuntimeError: In a training forward of drawn branches outside of the wrapper's:
            nothing is drawn there.
    """

    adapters: Mapping[str, MixLoRA]

    def __init__(
        self, layer: nn.Linear | nn.Conv2d, adapters: dict[str, MixLoRA]
    ) -> None:
        super().__init__(layer)
        self.adapters = nn.ModuleDict(adapters)  # type: ignore[assignment]
        self.is_conv = isinstance(layer, nn.Conv2d)
        self.paths: Paths | None = None
        self.draws: Draws | None = None

    def adapted(self, x: Tensor) -> Tensor:
        y = self.original(x)
        is_contiguous = y.is_contiguous()
        if self.is_conv:
            x, y = x.movedim(1, -1), y.movedim(1, -1)
        shape = y.shape
        downs, ups, routing = self._current_paths()
        if routing is not None and len(x) % len(routing.down):
            raise ValueError(
                f"draws='sample' needs the images in dimension 0 of a layer's input; got "
                f'{tuple(x.shape)} for {len(routing.down)} images. Use '
                "draws='batch', or name other targets."
            )
        x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, shape[-1])
        for chosen in self._groups():
            names = list(self.adapters)[chosen]
            members = [self.adapters[name] for name in names]
            y = add_low_rank(
                y,
                members[0].dropout(x),
                [self._rows(name, shape[-1]) for name in names],
                [held(a, group) for a, group in zip(members, downs[chosen], strict=True)],
                [held(a, group) for a, group in zip(members, ups[chosen], strict=True)],
                [a.trained_scale() for a in members if a.learn_scale],
                None if routing is None else Routing(*(m[:, chosen] for m in routing)),
            )
        y = y.view(shape)
        if self.is_conv:
            y = y.movedim(-1, 1)
            return y.contiguous() if is_contiguous else y
        return y

    def reading_fault(self) -> str:
        if any(adapter.dropout.p for adapter in self.adapters.values()):
            return 'dropout of the input (drop_rate) is not a weight'
        if self.draws is not None and self.draws.mode == 'sample':
            return "draws='sample' gives each image a weight of its own"
        return ''

    @property
    def weight(self) -> Tensor:
        """The weight that this layer now is, drawn branches included, with gradients."""
        folded = self.current_folded()
        if folded is not None:
            return folded.weight  # type: ignore[return-value]
        downs, ups, routing = self._current_paths()
        if routing is not None or (self.training and self.reading_fault()):
            raise RuntimeError(self._refusal('weight'))
        weight = self.original.weight.clone()
        for (part, adapter), down, up in zip(
            self.adapters.items(), downs, ups, strict=True
        ):
            rows = self._rows(part, len(weight))
            (a,), (b,) = held(adapter, down), held(adapter, up)
            scale = adapter.trained_scale() if adapter.learn_scale else rows.scale
            with without_autocast(weight.device):
                delta = (scale * (b.to(weight) @ a.to(weight))).to(weight)
            weight[rows.start : rows.stop] += delta.view_as(
                weight[rows.start : rows.stop]
            )
        return weight

    @property
    def bias(self) -> Tensor | None:
        return self.original.bias

    def _current_paths(self) -> Paths:
        if self.paths is not None:
            return self.paths
        if self.draws is not None:
            if self.training:
                return self.draws.recall(self)
            if not torch.compiler.is_compiling():
                self.draws.sync()
        means = [adapter.mean() for adapter in self.adapters.values()]
        return tuple((down,) for down, _ in means), tuple((up,) for _, up in means), None

    def _groups(self) -> list[slice]:
        """Which adapters share a product: all, or one each where inputs are dropped."""
        count = len(self.adapters)
        rates = [adapter.dropout.p for adapter in self.adapters.values()]
        if self.training and any(rates):
            return [slice(i, i + 1) for i in range(count)]
        return [slice(count)]

    def rows(self, part: str) -> Rows:
        """The rows of the layer's weight that an adapter is for."""
        return self._rows(part, len(self.original.weight))

    def _rows(self, part: str, width: int) -> Rows:
        scale = self.adapters[part].fixed_scale
        if part == 'all':
            return Rows(0, width, scale)
        third, index = width // len(PARTS), PARTS.index(part)
        return Rows(index * third, (index + 1) * third, scale)

    @torch.no_grad()
    def merge(self) -> nn.Linear | nn.Conv2d:
        """Fold the adapters into the layer, in place, and return the layer."""
        layer = self.original
        for part, adapter in self.adapters.items():
            rows = self._rows(part, len(layer.weight))
            weight = layer.weight[rows.start : rows.stop]
            delta = adapter.delta_weight().view_as(weight)
            weight.copy_(weight.to(delta) + delta)
        return layer


def held(adapter: MixLoRA, branches: Sequence[Tensor]) -> list[Tensor]:
    """The branches, without gradients where training must not change them."""
    if adapter.holds_branches:
        return [branch.detach() for branch in branches]
    return list(branches)

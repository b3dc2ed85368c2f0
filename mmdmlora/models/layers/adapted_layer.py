"""A frozen linear layer with low-rank updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..targets import PARTS
from .inserted_layer import InsertedLayer
from .kept_norm import kept_norm
from .low_rank_update import (
    LowRankPair,
    Routing,
    Rows,
    add_low_rank,
    without_autocast,
)
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
        selected: The updates of another adapter that evaluation uses in place of its own,
            by part; empty: none. None: its own. Set by
            :func:`~mmdmlora.models.adapter_switching.set_adapter`.

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
        self.selected: Mapping[str, LowRankPair] | None = None

    def adapted(self, x: Tensor) -> Tensor:
        norm = None if self.is_conv else kept_norm(x)
        y = self.original(x)
        is_contiguous = y.is_contiguous()
        if self.is_conv:
            x, y = x.movedim(1, -1), y.movedim(1, -1)
        shape = y.shape
        if self.selected is not None and not self.training:
            y = self._with_selected(
                x.reshape(-1, x.shape[-1]), y.reshape(-1, shape[-1]), self.selected
            )
        else:
            y = self._with_own(x, y.reshape(-1, shape[-1]), norm)
        y = y.view(shape)
        if self.is_conv:
            y = y.movedim(-1, 1)
            return y.contiguous() if is_contiguous else y
        return y

    def _with_selected(
        self, x: Tensor, y: Tensor, pairs: Mapping[str, LowRankPair]
    ) -> Tensor:
        if not pairs:
            return y
        return add_low_rank(
            y,
            x,
            [part_rows(part, y.shape[-1]) for part in pairs],
            [[pair.down.to(y.device)] for pair in pairs.values()],
            [[pair.up.to(y.device)] for pair in pairs.values()],
        )

    def _with_own(self, x: Tensor, y: Tensor, norm: Any) -> Tensor:
        downs, ups, routing = self._current_paths()
        if routing is not None and len(x) % len(routing.down):
            raise ValueError(
                f"draws='sample' needs the images in dimension 0 of a layer's input; got "
                f'{tuple(x.shape)} for {len(routing.down)} images. Use '
                "draws='batch', or name other targets."
            )
        x = x.reshape(-1, x.shape[-1])
        for chosen in self._groups():
            names = list(self.adapters)[chosen]
            members = [self.adapters[name] for name in names]
            inputs = members[0].dropout(x)
            y = add_low_rank(
                y,
                inputs,
                [self._rows(name, y.shape[-1]) for name in names],
                [held(a, group) for a, group in zip(members, downs[chosen], strict=True)],
                [held(a, group) for a, group in zip(members, ups[chosen], strict=True)],
                [a.trained_scale() for a in members if a.learn_scale],
                None if routing is None else Routing(*(m[:, chosen] for m in routing)),
                norm if inputs is x else None,
            )
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
        if self.selected is not None and not self.training:
            return self._folded_weight(self.selected)
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

    def _rows(self, part: str, width: int) -> Rows:
        return part_rows(part, width)._replace(scale=self.adapters[part].fixed_scale)

    @torch.no_grad()
    def pairs(self) -> dict[str, LowRankPair]:
        """What evaluation adds to the weight, by part, in single precision."""
        if self.selected is not None:
            return dict(self.selected)
        pairs = {}
        for part, adapter in self.adapters.items():
            adapter.active()
            down, up = adapter.mean()
            pairs[part] = LowRankPair(down.float(), adapter.scale.float() * up.float())
        return pairs

    @torch.no_grad()
    def _folded_weight(self, pairs: Mapping[str, LowRankPair]) -> Tensor:
        weight = self.original.weight.clone()
        for part, pair in pairs.items():
            start, stop, _ = part_rows(part, len(weight))
            rows = weight[start:stop]
            delta = (pair.up @ pair.down).to(weight.device).view_as(rows)
            rows.copy_(rows.to(delta) + delta)
        return weight

    @torch.no_grad()
    def merge(self) -> nn.Linear | nn.Conv2d:
        """Fold the adapters into the layer, in place, and return the layer."""
        layer = self.original
        if self.selected is not None:
            layer.weight.copy_(self._folded_weight(self.selected))
            return layer
        for part, adapter in self.adapters.items():
            rows = self._rows(part, len(layer.weight))
            weight = layer.weight[rows.start : rows.stop]
            delta = adapter.delta_weight().view_as(weight)
            weight.copy_(weight.to(delta) + delta)
        return layer


def part_rows(part: str, width: int) -> Rows:
    """The features of a layer's output that a part is, ``'all'`` or one of a fused qkv.

    Args:
        part: ``all``, ``q``, ``k`` or ``v``.
        width: The number of features.
    """
    if part == 'all':
        return Rows(0, width)
    third, index = width // len(PARTS), PARTS.index(part)
    return Rows(index * third, (index + 1) * third)


def held(adapter: MixLoRA, branches: Sequence[Tensor]) -> list[Tensor]:
    """The branches, without gradients where training must not change them."""
    if adapter.holds_branches:
        return [branch.detach() for branch in branches]
    return list(branches)

"""Where another library's model keeps each value of a backbone of mmpretrain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from .backbone import convert_state
from .values import State


@dataclass(frozen=True)
class Rows:
    """The place of some rows of a weight in a weight of the other model.

    Attributes:
        name: The other weight's name.
        rows: For each row its row there, ``(out,)``.
        columns: For each column its column there, ``(in,)``.
    """

    name: str
    rows: Tensor
    columns: Tensor


class Placement:
    """The way back from mmpretrain's names to those of another library's model.

    Conversion only moves values. So the model's state is converted with each value
    replaced by its position, and the result says where every value comes from: one
    table of names serves both directions.

    Args:
        target: The state dict of the other library's model.
        prefix: Where the model keeps the backbone under the backbone's own names: what
            they begin with there, such as ``backbone.``, or nothing for a model of timm
            that was adapted itself. Defaults to None: it has other names.

    Raises:
        ValueError: If the names of ``target`` are unknown, see
            :func:`~mmdmlora.models.convert.convert_backbone`.
    """

    def __init__(self, target: Mapping[str, Tensor], prefix: str | None = None) -> None:
        self.target = dict(target)
        ends = list(accumulate(value.numel() for value in self.target.values()))
        starts = [0, *ends[:-1]]
        self._starts = torch.tensor(starts)
        positions = {
            name: torch.arange(start, end, dtype=torch.int32).view_as(value)
            for (name, value), start, end in zip(
                self.target.items(), starts, ends, strict=True
            )
        }
        if prefix is None:
            converted = convert_state(positions)[1]
        else:
            converted = {
                name.removeprefix(prefix): place
                for name, place in positions.items()
                if name.startswith(prefix)
            }
        # Tables that conversion has added are no positions; they have another type.
        self._added = {k for k, v in converted.items() if v.dtype != torch.int32}
        self._positions: State = {
            k: v.long() for k, v in converted.items() if k not in self._added
        }

    def fill(self, backbone: Mapping[str, Tensor]) -> State:
        """The target's state with the values of a backbone.

        Args:
            backbone: The backbone's state dict. It isn't changed.

        Returns:
            dict[str, Tensor]: Single precision where the target has floating point.
            What conversion leaves out, such as a classifier, is as in ``target``.

        Raises:
            ValueError: If the architectures differ.
        """
        names = backbone.keys() - self._added
        if unplaced := sorted(names ^ self._positions.keys()):
            where = 'the backbone' if unplaced[0] in names else 'the other model'
            raise ValueError(
                f'the architectures differ: only {where} has {unplaced[0]} (and '
                f'{len(unplaced) - 1} more such tensors).'
            )
        out = {name: value.detach().clone() for name, value in self.target.items()}
        flat = torch.cat([value.detach().reshape(-1).float() for value in out.values()])
        for name, place in self._positions.items():
            value = backbone[name].detach()
            if value.shape != place.shape:
                raise ValueError(
                    f'the architectures differ: {name} has shape {tuple(value.shape)} in '
                    f'the backbone and {tuple(place.shape)} in the other model.'
                )
            flat[place] = value.to(flat)
        pieces = flat.split([value.numel() for value in out.values()])
        return {
            name: piece.view_as(value).clone() if value.is_floating_point() else value
            for (name, value), piece in zip(out.items(), pieces, strict=True)
        }

    def locate(self, name: str, rows: slice) -> Rows:
        """The place of some rows of a weight.

        Args:
            name: The weight's name in the backbone.
            rows: Its rows.

        Raises:
            ValueError: If the other model keeps them in several weights, or not as rows
                and columns.
        """
        place = self._positions[name][rows].flatten(1)
        number = int(torch.searchsorted(self._starts, place[0, 0], right=True)) - 1
        target = list(self.target)[number]
        inside = place - self._starts[number]
        width = self.target[target][0].numel()
        found = Rows(target, inside[:, 0] // width, inside[0] % width)
        expected = found.rows[:, None] * width + found.columns
        is_inside = int(inside.min()) >= 0 and int(found.rows.max()) < len(
            self.target[target]
        )
        if not (is_inside and torch.equal(expected, inside)):
            raise ValueError(
                f'{name}: the other model does not keep these rows as rows of one weight.'
            )
        return found

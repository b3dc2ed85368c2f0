"""What each layer uses in a step: a function of (seed, step, layer) alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .layers.adapted_layer import AdaptedLayer, Paths
from .layers.low_rank_update import Routing
from .layers.mix_lora import MixLoRA

Layers = Mapping[str, AdaptedLayer]


class StandIns:
    """Parameters that share a branch's memory and that no optimizer knows."""

    def __init__(self) -> None:
        self._made: dict[tuple[nn.Parameter, int], nn.Parameter] = {}

    def get(self, branch: nn.Parameter, slot: int) -> nn.Parameter:
        """The stand-in of a branch for a slot, without a gradient."""
        made = self._made.get((branch, slot))
        if (
            made is None
            or made.data_ptr() != branch.data_ptr()
            or made.dtype != branch.dtype
        ):
            made = self._made[branch, slot] = nn.Parameter(branch.detach())
        made.grad = None
        return made


def named_adapters(layers: Layers) -> Iterator[tuple[str, MixLoRA]]:
    """The adapters of all layers, each with the path of its layer, and of its part."""
    for name, layer in layers.items():
        for part, adapter in layer.adapters.items():
            yield (name if part == 'all' else f'{name}.{part}'), adapter


def draw_batch(layers: Layers, seed: int, step: int) -> list[Paths]:
    """One pair of branches for each adapter.

    Args:
        layers: The layers by path. Their adapters know what is active.
        seed: Seed of the run.
        step: Number of the training forward, from 0.

    Returns:
        list[Paths]: For each layer the drawn Parameters.
    """
    pairs = (
        draw_pair(seed, step, name, *adapter.active_indices)
        for name, adapter in named_adapters(layers)
    )
    paths: list[Paths] = []
    for layer in layers.values():
        drawn = [(a, next(pairs)) for a in layer.adapters.values()]
        downs = tuple((a.down[i],) for a, (i, _) in drawn)
        paths.append((downs, tuple((a.up[j],) for a, (_, j) in drawn), None))
    return paths


def draw_images(
    layers: Layers,
    seed: int,
    step: int,
    images: int,
    device: torch.device,
    stand_ins: StandIns,
) -> list[Paths]:
    """A pair of branches for each adapter and image.

    Args:
        layers: The layers by path. Their adapters know what is active.
        seed: Seed of the run.
        step: Number of the training forward, from 0.
        images: Number of images.
        device: Where the layers compute.
        stand_ins: For branches that no image draws.

    Returns:
        list[Paths]: For each layer its active branches, and which each image takes.
    """
    places = _draw_places(layers, seed, step, images)
    width = max(len(adapter.down) for _, adapter in named_adapters(layers))
    masks = places[..., None] == np.arange(width)  # (2, images, adapters, n)
    masks_there = torch.from_numpy(masks)
    if device.type == 'cuda':
        masks_there = masks_there.pin_memory()
    masks_there = masks_there.to(device, non_blocking=True)
    used = masks.any(1)
    paths: list[Paths] = []
    row = 0
    for layer in layers.values():
        adapters = list(layer.adapters.values())
        n = max(len(kind) for a in adapters for kind in a.active_indices)
        rows = range(row, row := row + len(adapters))
        downs, ups = (
            tuple(
                _slots(
                    getattr(a, name), a.active_indices[kind], used[kind, r], n, stand_ins
                )
                for a, r in zip(adapters, rows, strict=True)
            )
            for kind, name in enumerate(('down', 'up'))
        )
        routing = Routing(*masks_there[:, :, rows.start : rows.stop, :n])
        paths.append((downs, ups, routing))
    return paths


def read_pairs(
    layers: Layers, drawn: Sequence[Paths]
) -> dict[str, list[tuple[int, int]]]:
    """The branches' indices in what was drawn.

    Args:
        layers: The layers by path.
        drawn: What :func:`draw_batch` or :func:`draw_images` has given for them.

    Returns:
        dict: For each adapter its pair of a down and an up branch, or the pair of each
        image.
    """
    pairs: dict[str, list[tuple[int, int]]] = {}
    names = (name for name, _ in named_adapters(layers))
    for layer, paths in zip(layers.values(), drawn, strict=True):
        for part, adapter in enumerate(layer.adapters.values()):
            kinds = []
            for kind, branches in enumerate((adapter.down, adapter.up)):
                routing = paths[2]
                places = [0]
                if routing is not None:
                    places = routing[kind][:, part].int().argmax(1).tolist()
                slots = paths[kind][part]
                kinds.append([_index(slots[place], branches) for place in places])
            pairs[next(names)] = list(zip(*kinds, strict=True))
    return pairs


def draw_numbers(seed: int, step: int, layer: str, count: int) -> np.ndarray:
    """Uniform numbers from 0 to 2**32 - 1: a function of the arguments alone.

    Args:
        seed (int): Seed of the run.
        step (int): Number of the training forward, from 0.
        layer (str): Name of the adapter.
        count (int): How many.

    Returns:
        np.ndarray: ``(count,)``, uint32.
    """
    key = f'{seed}/{step}/{layer}'.encode()
    return np.frombuffer(hashlib.shake_128(key).digest(4 * count), '<u4')


def draw_pair(
    seed: int, step: int, layer: str, down: Sequence[int], up: Sequence[int]
) -> tuple[int, int]:
    """Draw a down and an up branch, independently and uniformly.

    Args:
        seed (int): Seed of the run.
        step (int): Number of the training forward, from 0.
        layer (str): Name of the adapter.
        down (Sequence[int]): Active down branches.
        up (Sequence[int]): Active up branches.

    Returns:
        tuple[int, int]: One of ``down``, one of ``up``: a function of the arguments
        alone.
    """
    i, j = draw_numbers(seed, step, layer, 2).tolist()
    return down[i % len(down)], up[j % len(up)]


def _draw_places(layers: Layers, seed: int, step: int, images: int) -> np.ndarray:
    """For each image its branches, counted among the active ones.

    Returns:
        np.ndarray: ``(2, images, adapters)``, down and up.
    """
    drawn = []
    for name, adapter in named_adapters(layers):
        numbers = draw_numbers(seed, step, name, 2 * images)
        counts = [[len(kind)] for kind in adapter.active_indices]
        drawn.append(numbers.reshape(2, images) % counts)
    return np.stack(drawn, -1)


def _slots(
    branches: nn.ParameterList,
    active: Sequence[int],
    used: np.ndarray,
    n: int,
    stand_ins: StandIns,
) -> tuple[Tensor, ...]:
    """n matrices: the active branches that an image drew, and what fills the others.

    A branch that no image drew must get no gradient, and the number of matrices must not
    depend on the draw (each other number would be compiled anew). So a stand-in takes its
    place; the masks keep it from having any effect.
    """
    slots: list[Tensor] = []
    for slot in range(n):
        branch = branches[active[slot if slot < len(active) else 0]]
        is_used = slot < len(active) and used[slot]
        slots.append(branch if is_used else stand_ins.get(branch, slot))
    return tuple(slots)


def _index(branch: Tensor, branches: nn.ParameterList) -> int:
    return next(i for i, each in enumerate(branches) if each is branch)

"""Several adapters over one frozen backbone.

An adapter that was loaded costs its own tensors. Switching exchanges references and
copies nothing: low-rank updates are handed to the layers that add them, all other trained
tensors, such as a head, take the place of the model's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from .adapter_folder import (
    BESIDE,
    LOW_RANK,
    WRAPPER,
    AdapterFolder,
    find_wrapper,
    read_adapter,
)
from .fingerprint import first_difference
from .layers.low_rank_update import LowRankPair
from .methods.low_rank_model import LowRankModel
from .peft_model import PEFTModel
from .targets import PARTS

LOADED = '_loaded_adapters'
Pairs = dict[str, dict[str, LowRankPair]]


@dataclass
class LoadedAdapter:
    """An adapter in memory.

    Attributes:
        pairs: The low-rank updates, by the path of their layer and part.
        tensors: What else was trained, by its name in the model.
    """

    pairs: Pairs
    tensors: dict[str, Tensor]


@dataclass
class LoadedAdapters:
    """The adapters of a model.

    Attributes:
        by_name: The adapters.
        own: The model's own tensors, while an adapter's are in their place.
    """

    by_name: dict[str, LoadedAdapter] = field(default_factory=dict)
    own: dict[str, Tensor] = field(default_factory=dict)


def load_adapter(model: nn.Module, folder: str | Path, name: str) -> dict[str, Any]:
    """Load an adapter beside those that a model has.

    The model still computes what it did: :func:`set_adapter` chooses.

    Args:
        model (nn.Module): A wrapper, or a model around one, of the same method and with
            the same frozen backbone. A low-rank method's may have another rank or number
            of branches, and fewer or more classes; it needs an adapter at each place.
        folder (str | Path): What :func:`~mmdmlora.models.adapter_folder.save_adapter`
            has written.
        name (str): What to call it. An adapter of this name is replaced.

    Returns:
        dict: The adapter's card.

    Raises:
        ValueError: If the adapter doesn't fit, or is in use under this name.
    """
    path, wrapper = find_wrapper(model)
    if name == wrapper.active_adapter:
        raise ValueError(f'adapter {name!r} is in use: set_adapter(None) first.')
    read = read_adapter(folder)
    try:
        loaded = _fitted(model, path, wrapper, read)
    except ValueError as error:
        raise ValueError(
            f'the adapter in {str(folder)!r} does not fit: {error}'
        ) from error
    _loaded(model).by_name[name] = loaded
    return read.card


def set_adapter(model: nn.Module, name: str | None) -> None:
    """Let evaluation use an adapter that was loaded, with its head.

    Args:
        model (nn.Module): The model that it was loaded into.
        name (str, optional): Its name. None: what the model has trained itself.

    Raises:
        ValueError: If there is none of this name, or the model is in training mode.

    Note:
        Training and saving are refused until ``set_adapter(model, None)``.
        ``merge()`` and ``folded()`` fold the adapter in use.
    """
    loaded = _loaded(model)
    if name is not None and name not in loaded.by_name:
        raise ValueError(
            f'there is no adapter {name!r} here: loaded are {list(loaded.by_name)}.'
        )
    _, wrapper = find_wrapper(model)
    if wrapper.training and name is not None:
        raise ValueError('adapters are switched in evaluation mode: call eval() first.')
    chosen = None if name is None else loaded.by_name[name]
    _select(wrapper, None if chosen is None else chosen.pairs)
    _exchange(model, loaded, {} if chosen is None else chosen.tensors)
    wrapper.active_adapter = name


@contextmanager
def disable_adapter(model: nn.Module) -> Iterator[None]:
    """Evaluate inside with the frozen backbone alone.

    A head, and whatever else of the model is trained, stays as it is.

    Raises:
        ValueError: If the method isn't low-rank: what others train isn't an addition
            that could be left out. Or if the model is in training mode.
    """
    _, wrapper = find_wrapper(model)
    if not isinstance(wrapper, LowRankModel):
        raise ValueError(
            f'{type(wrapper).__name__} has no low-rank adapters that could be left out: '
            'build the backbone without the wrapper.'
        )
    if wrapper.training:
        raise ValueError('adapters are disabled in evaluation mode: call eval() first.')
    layers = wrapper.adapted_layers().values()
    before = [layer.selected for layer in layers]
    _select(wrapper, {})
    try:
        yield
    finally:
        wrapper.unfold()
        for layer, selected in zip(layers, before, strict=True):
            layer.selected = selected


def _loaded(model: nn.Module) -> LoadedAdapters:
    return model.__dict__.setdefault(LOADED, LoadedAdapters())


def _select(wrapper: PEFTModel, pairs: Pairs | None) -> None:
    wrapper.unfold()
    if isinstance(wrapper, LowRankModel):
        for path, layer in wrapper.adapted_layers().items():
            layer.selected = None if pairs is None else pairs.get(path, {})


@torch.no_grad()
def _exchange(
    model: nn.Module, loaded: LoadedAdapters, tensors: Mapping[str, Tensor]
) -> None:
    """Put tensors in the place of the model's own, and its own back where none is."""
    places = _places(model)
    wanted = {**loaded.own, **tensors}
    loaded.own = {name: loaded.own.get(name, places[name].data) for name in tensors}
    for name, tensor in wanted.items():
        places[name].data = tensor.to(places[name])


def _places(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _fitted(
    model: nn.Module, path: str, wrapper: PEFTModel, read: AdapterFolder
) -> LoadedAdapter:
    """The adapter in the model's names, on its device."""
    method, own = str(read.card.get('method')), type(wrapper).__name__
    low_rank = read.below(LOW_RANK)
    if bool(low_rank) != isinstance(wrapper, LowRankModel) or (
        not low_rank and method != own
    ):
        raise ValueError(f'it is of {method}, the model of {own}.')
    _check_backbone(wrapper, read)
    beside = read.below(BESIDE)
    prefix = f'{path}.' if path else ''
    if path and not beside:
        raise ValueError(
            f'it has no head, the {type(model).__name__} has one. Save the classifier, '
            'or load it into the wrapped backbone alone.'
        )
    if beside and not path:
        print_log(
            f'The adapter has {len(beside)} tensors of a head, which are left out: load '
            'it into the whole classifier to use them.',
            logger='current',
        )
        beside = {}
    inner = {f'{prefix}{name}': v for name, v in read.below(WRAPPER).items()}
    places = _places(model)
    for name, tensor in {**inner, **beside}.items():
        if name not in places:
            raise ValueError(f'the model has no {name}.')
        same = tensor.shape == places[name].shape
        is_head = bool(low_rank) or name in beside
        if not same and not (is_head and tensor.shape[1:] == places[name].shape[1:]):
            raise ValueError(
                f'{name} has shape {tuple(tensor.shape)}, in the model '
                f'{tuple(places[name].shape)}.'
            )
    device = next(wrapper.parameters()).device
    tensors = {name: tensor.to(device) for name, tensor in {**inner, **beside}.items()}
    return LoadedAdapter(_pairs(wrapper, low_rank, device), tensors)


def _pairs(
    wrapper: PEFTModel, tensors: Mapping[str, Tensor], device: torch.device
) -> Pairs:
    """The low-rank updates by layer and part, scales and means folded in."""
    layers = wrapper.adapted_layers() if isinstance(wrapper, LowRankModel) else {}
    pairs: Pairs = {}
    for place in dict.fromkeys(name.rpartition('.')[0] for name in tensors):
        path, _, part = place.rpartition('.')
        if part not in PARTS or place in layers:
            path, part = place, 'all'
        if path not in layers:
            raise ValueError(
                f'the model has no adapter at {path!r}: name it in targets as well.'
            )
        down, up, scale = (tensors[f'{place}.{kind}'] for kind in ('down', 'up', 'scale'))
        pair = LowRankPair(
            down.mean(0).to(device), (scale * up.mean(0)).contiguous().to(device)
        )
        pairs.setdefault(path, {})[part] = pair
    return pairs


def _check_backbone(wrapper: PEFTModel, read: AdapterFolder) -> None:
    own = wrapper.frozen_fingerprint()
    missing = [name for name in read.frozen_names if name not in own]
    if missing:
        raise ValueError(
            f'{missing[0]!r} was frozen in its backbone and is trained or missing here.'
        )
    rows = torch.stack([own[name] for name in read.frozen_names])
    row = first_difference(rows, read.fingerprint)
    if row is not None:
        raise ValueError(
            'it was trained on another frozen backbone: '
            f'{read.frozen_names[row]!r} has other values here. Load the same '
            'pre-trained weights.'
        )

"""Choosing among what a checkpoint holds: raw or averaged, student or teacher.

A candidate is a state dict, at the top of the file or below one or two keys, or the part
of a state dict below a prefix. Of several the most preferred is taken:

1. averages: ``state_dict_ema``, ``model_ema`` and whatever else has ``ema`` as a word. In
   mmengine's own files ``state_dict`` is the average, and ``ema_state_dict`` the raw one;
2. the model: ``state_dict``, ``model``, ``module``, ``backbone`` and the like;
3. what a self-supervised method hands on: DINO's ``teacher``, MoCo's ``base_encoder``;
4. any other name, if there is one only;
5. what a method leaves behind: ``student``, ``momentum_encoder``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from .values import State

Content = TypeVar('Content')
MODEL_KEYS = ('state_dict_ema', 'model_ema', 'state_dict', 'model', 'module', '')
MODEL_WORDS = {
    *('state_dict', 'model', 'module', 'backbone', 'net', 'network', '_orig_mod'),
    *('model_state_dict', 'model_state', 'params', 'weights', ''),
}
AVERAGE = re.compile(r'(\w+_)?ema(_\w+)?')
HANDED_ON = {'teacher', 'teacher_backbone', 'target_encoder', 'base_encoder', 'encoder_q'}
LEFT_BEHIND = {'student', 'student_backbone', 'momentum_encoder', 'encoder_k'}
MMENGINE_RAW = 'ema_state_dict'


class Rank(IntEnum):
    """How far a candidate is preferred; the smallest first."""

    AVERAGE = 0
    MODEL = 1
    HANDED_ON = 2
    OTHER = 3
    LEFT_BEHIND = 4


@dataclass(frozen=True)
class Choice(Generic[Content]):
    """What was taken of a checkpoint.

    Attributes:
        key: The key of the state dict, empty for the file itself.
        content: What was read from it.
        others: The keys of the other state dicts.
    """

    key: str
    content: Content
    others: tuple[str, ...]


def read_preferred(
    checkpoint: Mapping[str, Any],
    read: Callable[[State], Content],
    key: str | None = None,
) -> Choice[Content]:
    """Read the preferred state dict of a checkpoint.

    Args:
        checkpoint: What a file holds.
        read: Turns a state dict into what is asked for; ValueError if it can't.
        key: The key of the state dict to take, instead of the preferred one.

    Raises:
        ValueError: If there is no state dict, none below ``key``, the preferred one
            can't be read, or several could be meant.
    """
    found = state_dicts(checkpoint)
    if key is not None:
        if key not in found:
            raise ValueError(
                f'key={key!r} names no state dict of the file. Its state dicts are '
                f'{list(found)}.'
            )
        return Choice(key, read(found[key]), tuple(k for k in found if k != key))
    if not found:
        raise ValueError(_without_tensors(checkpoint))
    is_raw = MMENGINE_RAW if _is_from_mmengine(checkpoint) else None

    def key_rank(key: str) -> Rank:
        return Rank.LEFT_BEHIND if key == is_raw else _rank(key)

    faults: dict[str, ValueError] = {}
    for rank, keys in groupby(sorted(found, key=key_rank), key=key_rank):
        fitting: dict[str, Content] = {}
        for name in keys:
            try:
                fitting[name] = read(found[name])
            except ValueError as error:
                faults[name] = error
        if fitting:
            taken = _only(fitting, MODEL_KEYS, 'key')
            return Choice(taken, fitting[taken], tuple(k for k in found if k != taken))
        if rank != Rank.OTHER:
            break
    tried = max(faults, key=lambda name: len(found[name]))
    others = [name for name in found if name != tried]
    hint = f' This is its {tried!r}; key= takes one of {others}.' if others else ''
    raise ValueError(f'{faults[tried]}{hint}') from faults[tried]


def state_dicts(checkpoint: Mapping[str, Any]) -> dict[str, State]:
    """The tensors of a checkpoint: its own as ``''``, those below a key as ``model``.

    One level deeper counts too, as ``ema.module``, where detectors keep their average.
    """
    found = {'': _tensors(checkpoint)}
    for key, value in _mappings(checkpoint):
        found[key] = _tensors(value)
        found |= {f'{key}.{name}': _tensors(inner) for name, inner in _mappings(value)}
    return {key: state for key, state in found.items() if state}


def _mappings(value: Mapping) -> list[tuple[str, Mapping]]:
    items = value.items()
    return [(k, v) for k, v in items if isinstance(k, str) and isinstance(v, Mapping)]


def prefixes_of(state: Iterable[str], names: set[str]) -> dict[str, int]:
    """Under which prefixes names are found, and how many of them."""
    counts: dict[str, int] = {}
    for name in state:
        for start in (0, *(m.end() for m in re.finditer(r'[./]', name))):
            if name[start:] in names:
                counts[name[:start]] = counts.get(name[:start], 0) + 1
    return counts


def preferred_prefix(prefixes: Iterable[str]) -> str:
    """The most preferred of some prefixes.

    Raises:
        ValueError: If several could be meant.
    """
    by_rank = sorted(prefixes, key=_rank)
    return _only([p for p in by_rank if _rank(p) == _rank(by_rank[0])], ('',), 'prefix')


def below(state: State, prefix: str) -> State:
    """The part of a state below a prefix, without it."""
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}


def narrowed(state: State, prefix: str | None) -> State:
    """The part of a state below a prefix that a user names, with or without its dot.

    Raises:
        ValueError: If no name begins with it.
    """
    if not prefix:
        return state
    inner = below(state, prefix if prefix.endswith(('.', '/')) else f'{prefix}.')
    if not inner:
        raise ValueError(
            f'prefix={prefix!r}: no name begins with it. The file names '
            f'{sorted(state)[:3]}.'
        )
    return inner


def describe(choice: Choice, prefix: str, other_prefixes: Iterable[str]) -> str:
    """What was taken of a file, and what it has besides."""
    taken = repr(choice.key) if choice.key else 'the file itself'
    if prefix:
        taken += f', names below {prefix!r}'
    left = [f'key={key!r}' for key in choice.others]
    left += [f'prefix={other!r}' for other in other_prefixes]
    return f'{taken}; not taken: {", ".join(left)}' if left else taken


def _tensors(value: Mapping[str, Any]) -> State:
    return {
        name: torch.as_tensor(item)
        for name, item in value.items()
        if isinstance(name, str) and isinstance(item, Tensor | np.ndarray)
    }


def _rank(place: str) -> Rank:
    """The rank of a key or a prefix, by its words."""
    words = set(re.split(r'[./]', place.rstrip('./').lower()))
    if any(AVERAGE.fullmatch(word) for word in words):
        return Rank.AVERAGE
    if words & LEFT_BEHIND:
        return Rank.LEFT_BEHIND
    if words & HANDED_ON:
        return Rank.HANDED_ON
    return Rank.MODEL if words <= MODEL_WORDS else Rank.OTHER


def _only(places: Iterable[str], order: tuple[str, ...], argument: str) -> str:
    """The first in an order, or the only one."""
    places = list(places)
    if ordered := [place for place in order if place in places]:
        return ordered[0]
    if len(places) > 1:
        raise ValueError(
            f'several of its parts could be meant: {places}. Name one with {argument}=.'
        )
    return places[0]


def _is_from_mmengine(checkpoint: Mapping[str, Any]) -> bool:
    meta = checkpoint.get('meta')
    return isinstance(meta, Mapping) and 'mmengine_version' in meta


def _without_tensors(checkpoint: Mapping[str, Any]) -> str:
    """Why a file has no state dict, with the names that it has."""
    deeper = list(_deep_names(checkpoint))
    if deeper:
        return (
            f'its tensors lie deeper than two keys, first {deeper[:3]}. Save the state '
            'dict alone.'
        )
    return f'it holds no tensors. Its keys are {[str(key) for key in checkpoint][:10]}.'


def _deep_names(value: Mapping, path: str = '') -> Iterable[str]:
    for key, item in value.items():
        if isinstance(item, Tensor | np.ndarray):
            yield f'{path}{key}'
        elif isinstance(item, Mapping):
            yield from _deep_names(item, f'{path}{key} > ')

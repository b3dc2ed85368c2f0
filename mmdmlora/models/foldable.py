"""Folding what a method has inserted into the layers of its backbone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from .execution import Execution
from .folding import fold
from .layers.inserted_layer import InsertedLayer
from .writes import Writes


class Foldable(Execution):
    """A wrapper whose inserted layers fold into plain ones, for good or for a while."""

    module: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self._folded_writes: Writes | None = None

    def merge(self) -> nn.Module:
        """Fold the adapters into a copy of the backbone.

        Returns:
            nn.Module: Plain modules only, equal to this wrapper in evaluation mode.
            This wrapper isn't changed. With ``frozen_dtype`` the merged weights are the
            rounded ones and the adapters' updates, added in single precision, so that
            outputs equal this wrapper's up to the arithmetic of autocast.

        Raises:
            ValueError: If the method can't be merged, or a folded layer doesn't give
                what the adapted one gives; the message says where and why.
        """
        merged = copy.deepcopy(self.module)
        self._restore_types(merged)
        for name, layer in list(_inserted_layers(merged)):
            merged.set_submodule(name, self._fold(name, layer), strict=True)
        return merged.requires_grad_(True)

    def bare_module(self) -> nn.Module:
        """A copy of the backbone without what was inserted, in its own types.

        Parameters of the backbone that are trained themselves are as trained.
        """
        bare = copy.deepcopy(self.module)
        self._restore_types(bare)
        for name, layer in list(_inserted_layers(bare)):
            bare.set_submodule(name, layer.original, strict=True)
        return bare

    @contextmanager
    def folded(self) -> Iterator[None]:
        """Evaluate inside with the adapters folded into the weights, as if merged.

        A forward then costs what the backbone's costs, and gives what the merged model
        gives. This holds in evaluation mode and without gradients; ``train()``, moving
        the model and writing to what the method trains end it. Writes through ``.data``
        can't be noticed: there must be none inside. Parameters, buffers and the state
        dict stay as they are.

        Raises:
            ValueError: If the method can't be merged, see :meth:`merge`.

        Example:
            >>> with torch.no_grad(), model.eval().folded():
            ...     features = model(images)
        """
        layers = dict(self._inserted_layers())
        copied = copy.deepcopy(list(layers.values()))
        folded = []
        for name, layer in zip(layers, copied, strict=True):
            self._restore_types(layer, f'{name}.')
            folded.append(self._fold(name, layer))
        for layer, plain in zip(layers.values(), folded, strict=True):
            layer.set_folded(plain)
        beside = [child for child in self.children() if child is not self.module]
        written_to = nn.ModuleList([*layers.values(), *beside])
        self._folded_writes = Writes(_tensors(written_to))
        try:
            yield
        finally:
            self.unfold()

    def _unfold_if_written(self) -> None:
        if self._folded_writes is not None and self._folded_writes.happened():
            self.unfold()

    def unfold(self) -> None:
        """End :meth:`folded`: run what was inserted again."""
        if self._folded_writes is not None:
            self._folded_writes = None
            for _, layer in self._inserted_layers():
                layer.set_folded(None)

    def _fold(self, name: str, layer: InsertedLayer) -> nn.Module:
        try:
            return fold(layer)
        except ValueError as error:
            raise ValueError(
                f'{type(self).__name__} has no merged form: {name!r}: {error}'
            ) from error

    def _inserted_layers(self) -> Iterator[tuple[str, InsertedLayer]]:
        return _inserted_layers(self.module)

    def _apply(self, fn: Callable, recurse: bool = True) -> Foldable:
        self.unfold()
        super()._apply(fn, recurse)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), '_folded_writes': None}


def _inserted_layers(module: nn.Module) -> Iterator[tuple[str, InsertedLayer]]:
    """What stands in the place of layers, by path."""
    for name, submodule in module.named_modules():
        if isinstance(submodule, InsertedLayer):
            yield name, submodule


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()

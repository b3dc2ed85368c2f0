"""What stands in the place of a layer that a method adapts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class InsertedLayer(nn.Module):
    """A module in the place of a layer, which it keeps as ``original``.

    Args:
        layer (nn.Linear | nn.Conv2d): The layer.

    Attributes:
        path (str): The place in the backbone, for messages. Set by the wrapper.
        weight (Tensor): What the place's owner multiplies with if it reads the weight
            and doesn't run the layer, as BEiT's attention does.
        bias (Tensor): What it adds.
        folded (nn.Module | None): A plain layer that evaluation runs in its place, see
            :meth:`PEFTModel.folded <mmdmlora.models.peft_model.PEFTModel.folded>`. It is
            no submodule, and copies don't have it.

    Note:
        The layer's constants, such as ``in_features``, are read from it.
    """

    original: nn.Linear | nn.Conv2d
    folded: nn.Module | None

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.original = layer
        self.path = ''
        self.set_folded(None)

    def forward(self, x: Tensor) -> Tensor:
        folded = self.current_folded()
        return self.adapted(x) if folded is None else folded(x)

    def adapted(self, x: Tensor) -> Tensor:
        """The forward with what was inserted. A method defines it."""
        raise NotImplementedError

    def set_folded(self, layer: nn.Module | None) -> None:
        """Let evaluation run a plain layer, or what was inserted again (None)."""
        # Past nn.Module, which would make it a submodule.
        self.__dict__['folded'] = layer

    def current_folded(self) -> nn.Module | None:
        """The plain layer, where this forward may use it: it gives no gradients."""
        if self.folded is None or self.training or torch.is_grad_enabled():
            return None
        return self.folded

    def reading_fault(self) -> str:
        """Why no weight equals this layer in training and evaluation; empty if one does.

        A method whose update is a weight overrides this, :attr:`weight` and
        :attr:`bias`.
        """
        return 'what is inserted there is not a weight, so it has to be run'

    @property
    def weight(self) -> Tensor:
        raise RuntimeError(self._refusal('weight'))

    @property
    def bias(self) -> Tensor | None:
        raise RuntimeError(self._refusal('bias'))

    def merge(self) -> nn.Module:
        """Change the layer so that it computes the same alone, and return it.

        Raises:
            ValueError: If no weights of the layer do; the message says why.
        """
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, 'folded': None}

    def _refusal(self, name: str) -> str:
        return (
            f'{self.path!r} can not be adapted this way: its owner reads the {name} '
            f'itself and {self.reading_fault()}. Name other targets.'
        )

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in ('original', 'weight', 'bias') or name not in getattr(
                self.original, '__constants__', ()
            ):
                raise
            return getattr(self.original, name)

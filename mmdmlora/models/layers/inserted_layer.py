"""What stands in the place of a layer that a method adapts."""

from __future__ import annotations

from torch import nn


class InsertedLayer(nn.Module):
    """A module in the place of a layer, which it keeps as ``original``.

    Args:
        layer (nn.Module): The layer.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.original = layer

    def merge(self) -> nn.Module:
        """Change the layer so that it computes the same alone, and return it.

        Raises:
            ValueError: If no weights of the layer do; the message says why.
        """
        raise NotImplementedError

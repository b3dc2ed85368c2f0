"""The linear probe."""

from __future__ import annotations

from torch import nn

from mmdmlora.registry import MODELS

from ..peft_model import PEFTModel


@MODELS.register_module()
class LinearProbeModel(PEFTModel):
    """Train nothing of the backbone: only what stands behind it, the head.

    Args:
        module (dict | nn.Module): The backbone or its config.
    """

    def __init__(self, module: dict | nn.Module) -> None:
        super().__init__(module)
        self._register({})

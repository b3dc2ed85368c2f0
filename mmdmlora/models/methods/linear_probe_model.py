"""The linear probe."""

from __future__ import annotations

from mmdmlora.registry import MODELS

from ..peft_model import PEFTModel


@MODELS.register_module()
class LinearProbeModel(PEFTModel):
    """Train nothing of the backbone: only what stands behind it, the head.

    Args:
        module (dict): Config of the backbone.
    """

    def __init__(self, module: dict) -> None:
        super().__init__(module)
        self._register({})

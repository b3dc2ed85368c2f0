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
        frozen_dtype (str, optional): ``'bfloat16'`` keeps frozen weights in it, see
            :meth:`~mmdmlora.models.execution.Execution.cast_frozen`. Defaults to None.
    """

    def __init__(self, module: dict | nn.Module, frozen_dtype: str | None = None) -> None:
        super().__init__(module, frozen_dtype)
        self._register({})

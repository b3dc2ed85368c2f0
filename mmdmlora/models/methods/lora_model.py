"""LoRA."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mmdmlora.registry import MODELS

from .low_rank_model import LowRankModel


@MODELS.register_module()
class LoRAModel(LowRankModel):
    r"""LoRA: :math:`y = W x + b + s B A x` with frozen :math:`W, b`.

    Args:
        module (dict | nn.Module): The backbone or its config.
        rank (int): Rank of the update. Defaults to 8.
        scale (float): The scale s; ``alpha / rank`` in other implementations.
            Defaults to 1.
        drop_rate (float): Dropout of the adapter's input. Defaults to 0.
        learn_scale (bool): Train each layer's scale. Defaults to False.
        targets (Sequence[dict], optional): The layers, see
            :func:`~mmdmlora.models.targets.find_targets`. Defaults to q and v of each
            attention and the first pointwise layer of each ConvNeXt block, see
            :func:`~mmdmlora.models.low_rank_places.default_low_rank_targets`.
        frozen_dtype (str, optional): ``'bfloat16'`` keeps frozen weights in it, see
            :meth:`~mmdmlora.models.execution.Execution.cast_frozen`. Defaults to None.

    Raises:
        ValueError: If an argument is out of range or a target doesn't fit.

    Source:
        `LoRA <https://arxiv.org/abs/2106.09685>`_.
    """

    def __init__(
        self,
        module: dict | nn.Module,
        rank: int = 8,
        scale: float = 1.0,
        drop_rate: float = 0.0,
        learn_scale: bool = False,
        targets: Sequence[dict] | None = None,
        frozen_dtype: str | None = None,
    ) -> None:
        super().__init__(
            module,
            targets,
            frozen_dtype,
            rank=rank,
            scale=scale,
            drop_rate=drop_rate,
            learn_scale=learn_scale,
        )

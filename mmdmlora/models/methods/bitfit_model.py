"""BitFit: the biases are trained."""

from __future__ import annotations

from torch import nn

from mmdmlora.registry import MODELS

from ..peft_model import PEFTModel


@MODELS.register_module()
class BitFitModel(PEFTModel):
    r"""BitFit: :math:`y = W x + b` with frozen :math:`W` and trained :math:`b`.

    Trained are all bias vectors that the backbone has: those of linear layers,
    convolutions and normalisations, also where an attention keeps them under names such
    as ``q_bias``. Tables of relative position biases stay frozen, and so does what the
    backbone's ``frozen_stages`` names.

    Args:
        module (dict | nn.Module): The backbone or its config.
        frozen_dtype (str, optional): ``'bfloat16'`` keeps frozen weights in it, see
            :meth:`~mmdmlora.models.execution.Execution.cast_frozen`. Defaults to None.

    Shape:
        As the backbone's.

    Raises:
        ValueError: If the backbone has no biases.

    Note:
        Nothing is inserted: :attr:`adapters` is empty, and the merged form is the
        backbone itself. Batch norms train their bias but keep their statistics.

    Source:
        `BitFit <https://arxiv.org/abs/2106.10199>`_.
    """

    def __init__(self, module: dict | nn.Module, frozen_dtype: str | None = None) -> None:
        super().__init__(module, frozen_dtype)
        biases = [
            parameter
            for name, parameter in self.module.named_parameters()
            if name.rpartition('.')[2].endswith('bias') and name in self.backbone_trained
        ]
        if not biases:
            raise ValueError(
                f'{type(self.module).__name__} has no bias to train, or freezes all of '
                'them: use another method.'
            )
        for bias in biases:
            bias.requires_grad_(True)
        self._register({})

    def _keeps_statistics(self, module: nn.Module) -> bool:
        return True

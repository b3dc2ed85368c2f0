"""Full fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from mmdmlora.registry import MODELS

from ..freezing import is_frozen
from ..peft_model import PEFTModel


@MODELS.register_module()
class FullFinetuneModel(PEFTModel):
    """Train all of the backbone: the baseline that other methods are compared with.

    Args:
        module (dict | nn.Module): The backbone or its config.
        frozen_dtype (None): Refused otherwise: what is frozen is saved, too.

    Shape:
        As the backbone's.

    Raises:
        ValueError: If the backbone freezes all of itself, or ``frozen_dtype`` is set.

    Note:
        - The state dict holds the whole backbone, buffers too. Batch norms train,
          statistics included, unless the backbone's ``norm_eval`` says otherwise.
        - What the backbone itself doesn't train stays frozen: the stages that its
          ``frozen_stages`` names, fixed position embeddings.
        - As all weights are saved, :meth:`init_weights` compares all of them with those
          that were constructed or loaded last: call it before training.
        - Nothing is inserted: the merged form is the backbone itself.

    Source:
        Common practice; the baseline "Full" of arXiv:2203.12119.
    """

    def __init__(self, module: dict | nn.Module, frozen_dtype: str | None = None) -> None:
        super().__init__(module, frozen_dtype)
        if not self.backbone_trained:
            raise ValueError(
                f'{type(self.module).__name__} freezes all of its parameters: lower its '
                'frozen_stages, or use LinearProbeModel.'
            )
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(name in self.backbone_trained)
        self._register({})
        self.register_load_state_dict_post_hook(_remember)

    @classmethod
    def check_frozen_dtype(cls, backbone: nn.Module, name: str | None) -> None:
        if name is not None:
            raise ValueError(
                f'frozen_dtype={name!r} is for frozen weights, and {cls.__name__} trains '
                'all of them: leave it out, and use --amp bfloat16 for speed.'
            )

    def _keeps_statistics(self, module: nn.Module) -> bool:
        return next(module.parameters(), None) is not None and is_frozen(module)

    def _checkpoint_names(self, state: Iterable[str]) -> set[str]:
        return set(state)

    def _loaded_parameters(self) -> dict[str, Tensor]:
        return dict(self.named_parameters())


def _remember(model: FullFinetuneModel, incompatible_keys: object) -> None:
    """Load hook: what was loaded is what :meth:`init_weights` must find."""
    model._remember_loaded()

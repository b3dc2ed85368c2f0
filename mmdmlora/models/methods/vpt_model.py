"""Visual prompt tuning."""

from __future__ import annotations

import math

from mmpretrain.models.utils import ShiftWindowMSA
from torch import nn

from mmdmlora.registry import MODELS

from ..argument_checks import is_count, is_rate
from ..backbones import Stage, find_tokens
from ..layers.prompts import PromptedWindows, Prompts
from ..peft_model import PEFTModel


@MODELS.register_module()
class VPTModel(PEFTModel):
    r"""Visual prompt tuning: learned tokens beside the image's.

    With the class token :math:`c`, the prompts :math:`P` and the patches :math:`E`,
    layer :math:`L_i` computes

    .. math::
        [c_i, \cdot, E_i] = L_i([c_{i-1}, P_{i-1}, E_{i-1}]) \quad\text{(deep)}, \qquad
        [c_i, P_i, E_i] = L_i([c_{i-1}, P_{i-1}, E_{i-1}]) \quad\text{(shallow)}.

    Deep trains every :math:`P_i`, shallow trains :math:`P_0`. In Swin each window's
    tokens attend to the prompts without position bias or mask, the windows' outputs for
    a prompt are averaged, and patch merging takes four copies of a prompt. Prompts start
    uniform in :math:`\pm\sqrt{6 / (k + d)}`, where the patch embedding maps k values
    (3 x 16 x 16 in ViT-B/16) to d features; later stages of Swin use the same bound.

    Args:
        module (dict | nn.Module): A ViT of mmpretrain, timm, torchvision or transformers
            (DINOv2 too) or a Swin of mmpretrain, a classifier with one, or its config.
        num_tokens (int): Number of prompts. Defaults to 10.
        deep (bool): New prompts for every layer. Defaults to True.
        drop_rate (float): Dropout of the prompts. Defaults to 0.
        frozen_dtype (str, optional): ``'bfloat16'`` keeps frozen weights in it, see
            :meth:`~mmdmlora.models.execution.Execution.cast_frozen`. Defaults to None.

    Shape:
        As the backbone's: its outputs don't contain the prompts.

    Raises:
        ValueError: If the backbone has no tokens (ConvNeXt) or places them in a way that
            this class doesn't know, or if an argument is out of range.

    Note:
        - Prompts stand behind the class token; without one they come first.
        - Where the output of a middle layer or of a Swin stage may be read, shallow
          prompts wait aside for the next layer. Activation checkpointing therefore works
          within these bounds (``with_cp`` of Swin does), not across them.

    Source:
        `VPT <https://arxiv.org/abs/2203.12119>`_ and github.com/KMnP/vpt, also for the
        initialisation. Deviations from that code: its Swin averages a prompt over
        windows of different images, here over the windows of one image; its Swin pools
        the prompts together with the patches; it switches the backbone's dropout and
        stochastic depth off, here the backbone's config decides.
    """

    adapters: dict[str, Prompts]
    _replica_fault = 'its hooks know the first copy of the prompts only'

    def __init__(
        self,
        module: dict | nn.Module,
        num_tokens: int = 10,
        deep: bool = True,
        drop_rate: float = 0.0,
        frozen_dtype: str | None = None,
    ) -> None:
        super().__init__(module, frozen_dtype)
        if not is_count(num_tokens):
            raise ValueError(f'num_tokens={num_tokens} is no whole number above 0.')
        if not is_rate(drop_rate):
            raise ValueError(f'drop_rate={drop_rate} is not in [0, 1).')
        stages, position, embedding = find_tokens(self.module)
        bound = _bound(embedding)
        device = next(self.module.parameters()).device
        names = {layer: name for name, layer in self.module.named_modules()}
        layers = [Stage([x], stage.dims) for stage in stages for x in stage.layers]
        adapters = {}
        for run in [[layer] for layer in layers] if deep else [stages]:
            prompts = Prompts(num_tokens, run[0].dims, bound, position, drop_rate)
            prompts.to(device).attach(run)
            adapters[names[run[0].layers[0]]] = prompts
        for layer in list(self.module.modules()):
            if isinstance(layer, ShiftWindowMSA):
                PromptedWindows(layer.w_msa, num_tokens).attach(layer)
        self._register(adapters)

    def merge(self) -> nn.Module:
        raise ValueError(
            'VPTModel has no merged form: prompts are tokens beside the image, which no '
            "weight of the backbone can hold. Deploy the wrapper with the backbone's "
            'checkpoint.'
        )


def _bound(embedding: nn.Module) -> float:
    *_, projection = (m for m in embedding.modules() if isinstance(m, nn.Conv2d))
    return math.sqrt(6 / (projection.weight[0].numel() + len(projection.weight)))

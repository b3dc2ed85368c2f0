"""The last layer of a ViT, computed as far as it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor, nn

from .layers.prompts import Prompts


class ClassTokenLayer(TransformerEncoderLayer):
    """A layer that gives the first of its tokens only.

    All tokens have keys and values there. Queries, the output projection and the MLP
    are computed for the first one.

    Shape:
        - x: ``(B, N, C)``.
        - output: ``(B, 1, C)``, what :class:`TransformerEncoderLayer` gives for the
          first token, up to rounding.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :1] + _first_attended(self.attn, self.ln1(x))
        return self.ffn(self.ln2(x), identity=x)


def _first_attended(attention: MultiheadAttention, x: Tensor) -> Tensor:
    qkv = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1))
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()
    attended = attention.scaled_dot_product_attention(
        q[:, :, :1], k, v, dropout_p=attention.attn_drop if attention.training else 0.0
    )
    out = attention.proj(attended.transpose(1, 2).flatten(2))
    return attention.out_drop(attention.gamma1(attention.proj_drop(out)))


def find_vits(backbone: nn.Module) -> list[VisionTransformer]:
    """mmpretrain's ViTs in a network, those of subclasses left out."""
    return [m for m in backbone.modules() if type(m) is VisionTransformer]


@contextmanager
def only_class_tokens(vits: Iterable[VisionTransformer]) -> Iterator[None]:
    """Let those ViTs that give the class token compute no other one in the last layer.

    Their outputs and gradients are the same up to rounding. Where a hook could see the
    other tokens, or the layer isn't mmpretrain's own, all of them are computed.

    Args:
        vits: See :func:`find_vits`.
    """
    layers = [vit.layers[-1] for vit in vits if _gives_class_token(vit)]
    for layer in layers:
        layer.__class__ = ClassTokenLayer
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = TransformerEncoderLayer


def _gives_class_token(vit: VisionTransformer) -> bool:
    layer = vit.layers[-1]
    return (
        vit.out_type == 'cls_token'
        and list(vit.out_indices) == [len(vit.layers) - 1]
        and _is_own(layer, TransformerEncoderLayer)
        and _is_own(layer.attn, MultiheadAttention)
        and not layer.attn.v_shortcut
        and not any(map(_is_hooked, layer.modules()))
        and not (vit.final_norm and _is_hooked(vit.ln1))
    )


def _is_own(module: nn.Module, of_class: type) -> bool:
    """Whether it runs the forward of its class."""
    return type(module) is of_class and 'forward' not in vars(module)


def _is_hooked(module: nn.Module) -> bool:
    """Whether anything but prompts may see its tokens."""
    hooks = (
        *module._forward_pre_hooks.values(),
        *module._forward_hooks.values(),
        *module._backward_pre_hooks.values(),
        *module._backward_hooks.values(),
    )
    return any(not isinstance(getattr(h, '__self__', None), Prompts) for h in hooks)

"""mmpretrain's ViT as training runs it: with nothing computed that nobody reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor, bfloat16, nn
from torch.nn.functional import scaled_dot_product_attention

from .cpu_attention import attention
from .layers.prompts import Prompts


class TrainedAttention(MultiheadAttention):
    """The same attention, whose backward puts q, k and v together in one operation.

    The original selects each of them, so that backward fills three tensors of the size of
    qkv with zeros and adds them. In bfloat16 on a CPU attention is that of
    :func:`~mmdmlora.models.cpu_attention.attention`, whose products want each head in one
    piece of memory: all are copied at once there.

    Shape:
        - x: ``(B, N, C)``.
        - output: ``(B, Q, C)``, for the first Q tokens as queries; all by default.
    """

    def forward(self, x: Tensor, queries: int | None = None) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        attend = self.scaled_dot_product_attention
        if attend is scaled_dot_product_attention and _is_bfloat16_on_cpu(qkv):
            attend = attention
            q, k, v = qkv.permute(2, 0, 3, 1, 4).contiguous()
        else:
            q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        attended = attend(
            q[:, :, :queries], k, v, dropout_p=self.attn_drop if self.training else 0.0
        )
        out = self.proj(attended.transpose(1, 2).flatten(2))
        return self.out_drop(self.gamma1(self.proj_drop(out)))


class ClassTokenLayer(TransformerEncoderLayer):
    """A layer that gives the first of its tokens only.

    All tokens have keys and values there. Queries, the output projection and the MLP
    are computed for the first one.

    Shape:
        - x: ``(B, N, C)``.
        - output: ``(B, 1, C)``, what the original gives for the first token, up to
          rounding.
    """

    attn: TrainedAttention

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :1] + self.attn(self.ln1(x), queries=1)
        return self.ffn(self.ln2(x), identity=x)


# What is replaced: a forward that someone else has put in its place is run as it is.
FORWARDS = {
    kind: kind.forward
    for kind in (VisionTransformer, TransformerEncoderLayer, MultiheadAttention)
}


def find_vits(backbone: nn.Module) -> list[VisionTransformer]:
    """mmpretrain's ViTs in a network, those of subclasses left out."""
    return [m for m in backbone.modules() if type(m) is VisionTransformer]


@contextmanager
def trained_form(vits: Iterable[VisionTransformer]) -> Iterator[None]:
    """Let ViTs run inside as :class:`TrainedAttention` and :class:`ClassTokenLayer` do.

    Outputs and gradients are the same bit for bit; where the last layer computes the
    class token only, and in bfloat16 on a CPU, up to rounding. It does where nothing but
    that token is read and no hook could see the others. What runs a forward that isn't
    mmpretrain's own, such as one with activation checkpointing, stays as it is.

    Args:
        vits: See :func:`find_vits`.
    """
    vits = [vit for vit in vits if _is_stock(vit, VisionTransformer)]
    layers = [layer for vit in vits for layer in vit.layers if _is_stock_layer(layer)]
    attentions = [layer.attn for layer in layers]
    last = [vit.layers[-1] for vit in vits if _reads_class_token(vit)]
    _set_class(attentions, TrainedAttention)
    _set_class(last, ClassTokenLayer)
    try:
        yield
    finally:
        _set_class(attentions, MultiheadAttention)
        _set_class(last, TransformerEncoderLayer)


def has_trained_form(backbone: Any) -> bool:
    """Whether all attention of a network is :class:`TrainedAttention` now."""
    return type(backbone) is VisionTransformer and all(
        isinstance(layer, TransformerEncoderLayer)
        and type(layer.attn) is TrainedAttention
        for layer in backbone.layers
    )


def _is_bfloat16_on_cpu(tensor: Tensor) -> bool:
    return tensor.dtype == bfloat16 and tensor.device.type == 'cpu'


def _set_class(modules: Iterable[nn.Module], form: type) -> None:
    for module in modules:
        module.__class__ = form


def _reads_class_token(vit: VisionTransformer) -> bool:
    """Whether all that anybody sees of the last layer's output is the class token."""
    last = vit.layers[-1]
    return (
        vit.out_type == 'cls_token'
        and list(vit.out_indices) == [len(vit.layers) - 1]
        and '_format_output' not in vars(vit)
        and _is_stock_layer(last)
        and not any(map(_is_hooked, last.modules()))
        and not (vit.final_norm and _is_hooked(vit.ln1))
    )


def _is_stock_layer(layer: Any) -> bool:
    return (
        _is_stock(layer, TransformerEncoderLayer)
        and _is_stock(layer.attn, MultiheadAttention)
        and not layer.attn.v_shortcut
    )


def _is_stock(module: Any, kind: Any) -> bool:
    """Whether a module is of a class and runs the forward that mmpretrain gave it."""
    return (
        type(module) is kind
        and 'forward' not in vars(module)
        and kind.forward is FORWARDS[kind]
    )


def _is_hooked(module: nn.Module) -> bool:
    """Whether anything but prompts may see its tokens."""
    hooks = (
        *module._forward_pre_hooks.values(),
        *module._forward_hooks.values(),
        *module._backward_pre_hooks.values(),
        *module._backward_hooks.values(),
    )
    return any(not isinstance(getattr(h, '__self__', None), Prompts) for h in hooks)

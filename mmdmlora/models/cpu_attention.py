"""Attention in bfloat16 on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


class CPUAttention(TorchFunctionMode):
    """Compute ``scaled_dot_product_attention`` of bfloat16 by :func:`attention`.

    It sees each function of PyTorch that is called inside, which costs about 2 us a call.
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention or not _has_bfloat16(args, kwargs):
            return func(*args, **kwargs)
        return attention(*args, **kwargs)


@torch.autocast('cpu', enabled=False)
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attention of bfloat16 that is fast on a CPU.

    Plain attention over few enough keys is two products in bfloat16 with a softmax
    between them, see :func:`centered_attention`. All other attention (with a mask,
    dropout, a causal order, heads in groups, or many keys) is computed in float32.

    Few: no more is kept for backward than in float32. Products keep a row of scores
    a query. In float32 query, key, value and result are kept, which is as much as eight
    times a query's width in bfloat16.

    Args and returns are those of PyTorch's ``scaled_dot_product_attention``.
    """
    is_plain = attn_mask is None and not (dropout_p or is_causal or enable_gqa)
    if is_plain and key.shape[-2] <= 8 * query.shape[-1]:
        return centered_attention(query, key, value, scale)
    return scaled_dot_product_attention(
        query.float(),
        key.float(),
        value.float(),
        attn_mask=_single(attn_mask),
        dropout_p=dropout_p,
        is_causal=is_causal,
        scale=scale,
        enable_gqa=enable_gqa,
    ).bfloat16()


def centered_attention(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None = None
) -> Tensor:
    """Attention by explicit products, with the mean key taken off first.

    A softmax stays the same when all its inputs move by one number, so that the
    mean of the keys changes nothing: neither the result nor, as the gradients of a row of
    scores sum to zero, any gradient. Without it the scores are smaller, and so
    is what rounding them to bfloat16 costs (SageAttention, ICLR 2025, smooths keys so for
    its integers).

    Args:
        query: (..., queries, width).
        key: (..., keys, width).
        value: (..., keys, width of a value).
        scale: What scores are multiplied with; ``width ** -0.5`` by default.

    Returns:
        (..., queries, width of a value), in the inputs' type.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    centered = key - key.detach().mean(-2, keepdim=True)
    return softmax(query * scale @ centered.transpose(-2, -1)) @ value


def softmax(scores: Tensor) -> Tensor:
    """The softmax over the last dimension.

    PyTorch 2.14 computes rows of bfloat16 that are shorter than a vector of AVX-512, 32
    numbers, one number at a time. Those that fill a vector of float32 are computed in it;
    that gives the same up to rounding, and the same is kept for backward.
    """
    if scores.dtype == torch.bfloat16 and 16 <= scores.shape[-1] < 32:
        return _ShortSoftmax.apply(scores)
    return scores.softmax(-1)


class _ShortSoftmax(Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        out = scores.softmax(-1, dtype=torch.float32).to(scores.dtype)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        grad_scores = torch._softmax_backward_data(
            grad.float(), out.float(), -1, torch.float32
        )
        return grad_scores.to(grad.dtype)


def _has_bfloat16(args: tuple, kwargs: dict) -> bool:
    query = args[0] if args else kwargs['query']
    return query.dtype == torch.bfloat16


def _single(value: Any) -> Any:
    is_bfloat16 = isinstance(value, Tensor) and value.dtype == torch.bfloat16
    return value.float() if is_bfloat16 else value

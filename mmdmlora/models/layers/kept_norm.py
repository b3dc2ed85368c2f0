r"""The input of a layer, from what the layer norm before it keeps for backward.

A layer norm keeps its input h, the mean :math:`\mu` and :math:`\rho = 1 / \sigma` of each
row. An adapter behind it needs :math:`x = w \odot \rho (h - \mu) + b` for the gradient of
its down matrix, a product with few rows :math:`Z`. That product needs no x:

.. math::
    Z x = (R h - R \mu) \odot w + (Z 1) b^\top, \quad R = Z \odot \rho^\top

So x, as large as h, isn't kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Below that the kernels of the longer formula cost more than the memory is worth.
MIN_BYTES = 2**20


def kept_norm(x: Tensor) -> Any:
    """The graph's node of the layer norm whose output a tensor is.

    Args:
        x: ``(..., features)``.

    Returns:
        The node. None if x is something else or small, and where others choose what is
        kept: a compiler, or activation checkpointing, which keeps nothing.
    """
    if torch.compiler.is_compiling() or x.dtype not in (torch.float32, torch.float64):
        return None
    node: Any = x.grad_fn
    if node is None or node.name() != 'NativeLayerNormBackward0':
        return None
    is_over_features = tuple(node._saved_normalized_shape) == (x.shape[-1],)
    is_large = x.numel() * x.element_size() >= MIN_BYTES
    return node if is_over_features and is_large and not _is_checkpointed() else None


def _is_checkpointed() -> bool:
    """Whether the forward is one of ``torch.utils.checkpoint``, or its repetition.

    It gives each kept tensor back once only.
    """
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return hooks is not None and hooks[0].__module__ == 'torch.utils.checkpoint'


def product_with_input(node: Any, z: Tensor) -> Tensor:
    r"""The product :math:`Z x` with the output x of a layer norm.

    Args:
        node: Of the norm, see :func:`kept_norm`. It must not have run backward.
        z: ``(k, N)``, for the N rows of x.

    Returns:
        Tensor: ``(k, features)``, in the type of x.
    """
    h = node._saved_input.flatten(0, -2)
    mean, inverse = (
        each.flatten(0, -2) for each in (node._saved_result1, node._saved_result2)
    )
    weight, bias = node._saved_weight, node._saved_bias
    z = z.to(h.dtype)
    if torch.is_grad_enabled():  # backward is differentiated: mean and variance follow h
        mean = h.mean(1, keepdim=True)
        variance = (h - mean).square().mean(1, keepdim=True)
        eps = (inverse.pow(-2) - variance).detach()
        inverse = (variance + eps).rsqrt()
    scaled = z * inverse.t()
    product = scaled @ h - scaled @ mean
    if weight is not None:
        product = product * weight
    return product if bias is None else torch.addr(product, z.sum(1), bias)

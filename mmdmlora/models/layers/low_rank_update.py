"""The sum of a frozen layer's output and low-rank updates of some of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import Function

from .kept_norm import product_with_input


class Rows(NamedTuple):
    """The features of an output that one update is added to.

    Attributes:
        start: The first feature.
        stop: The one behind the last.
        scale: What the update is multiplied by, if it isn't learned. Defaults to 1.
    """

    start: int
    stop: int
    scale: float = 1.0


class LowRankPair(NamedTuple):
    """An update of a weight, :math:`B A`.

    Attributes:
        down: A, ``(r, in)``.
        up: B with the scale in it, ``(out, r)``.
    """

    down: Tensor
    up: Tensor


class Routing(NamedTuple):
    """Which branch each image of a batch takes, for P updates with n branches each.

    Attributes:
        down: One-hot masks of the down branches, bool, ``(B, P, n)``.
        up: The same of the up branches.
    """

    down: Tensor
    up: Tensor


def add_low_rank(
    y: Tensor,
    x: Tensor,
    rows: Sequence[Rows],
    downs: Sequence[Sequence[Tensor]],
    ups: Sequence[Sequence[Tensor]],
    scales: Sequence[Tensor] = (),
    routing: Routing | None = None,
    norm: Any = None,
) -> Tensor:
    r"""Add low-rank updates to rows of an output.

    .. math::
        y_{R_p} + s_p B_p A_p x \quad\text{for each update } p

    One product serves all :math:`A_p`, updates are written into their rows only, and
    backward needs x, the hidden features and the matrices themselves, no copy of them.
    Behind a layer norm it doesn't need x either.

    Args:
        y: The layer's output, ``(N, out)``. It isn't changed.
        x: The layer's input, ``(N, in)``.
        rows: The rows of each of the P updates.
        downs: The matrices ``(r, in)`` of each update: one, or n where images are routed.
        ups: The matrices ``(out_p, r)`` of each update, as many.
        scales: A learned scale, without dimensions, of each update. Empty: those of
            ``rows``.
        routing: For each image its branches. The N rows belong to the B images in
            order, equally many to each. None: the one branch.
        norm: The node of the layer norm whose output x is, see
            :func:`~mmdmlora.models.layers.kept_norm.kept_norm`. None: x is kept.

    Returns:
        Tensor: A new tensor of y's shape and type. Everything is computed in that type.
    """
    matrices = [matrix for groups in (downs, ups) for group in groups for matrix in group]
    inputs = [tensor.to(y.dtype) for tensor in (x, *matrices, *scales)]
    masks = (None, None) if routing is None else routing
    with without_autocast(y.device):
        return _LowRankUpdate.apply(y, tuple(rows), len(downs[0]), *masks, norm, *inputs)


def without_autocast(device: torch.device) -> AbstractContextManager:
    """A context in which autocast is off; devices without any, such as meta, count."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def route(z: Tensor, routing: Routing, rank: int) -> Tensor:
    """Move hidden features from each image's down branch to its up branch.

    Args:
        z: ``(N, P n r)``, what all down branches give.
        routing: The branches of each image.
        rank: The rank r.

    Returns:
        Tensor: ``(N, P n r)``: of the features of each image, those of its down branch
        stand in the place of its up branch, all others are zero. The transposed map is
        the same with the two masks exchanged.
    """
    images, updates, branches = routing.down.shape
    down, up = (mask[:, None, :, :, None] for mask in routing)
    z = z.reshape(images, -1, updates, branches, rank)
    chosen = (z * down).sum(3, keepdim=True)
    return (chosen * up).view(-1, updates * branches * rank)


class _LowRankUpdate(Function):
    """See :func:`add_low_rank`; written out so that each product is done once.

    Hidden features are kept as ``(P r, N)``, so that the narrow matrix stands on the
    left of each product over N or out: on a CPU the transposed product takes up to five
    times as long, see docs/performance.md.
    """

    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        rows: tuple[Rows, ...],
        branches: int,
        down_mask: Tensor | None,
        up_mask: Tensor | None,
        norm: Any,
        x: Tensor,
        *matrices: Tensor,
    ) -> Tensor:
        downs, ups, scales = _groups(matrices, len(rows), branches)
        widths = [branches * group[0].shape[0] for group in downs]
        z = _joined([a for group in downs for a in group], 0) @ x.t()
        if down_mask is not None and up_mask is not None:
            routing = Routing(down_mask, up_mask)
            z = route(z.t(), routing, downs[0][0].shape[0]).t()
        out = y.clone()
        for p, (part, hidden) in enumerate(zip(rows, z.split(widths), strict=True)):
            up, factor = _joined(ups[p], 1), part.scale
            if scales:
                up, factor = up * scales[p], 1.0
            out[:, part.start : part.stop].addmm_(hidden.t(), up.t(), alpha=factor)
        ctx.rows, ctx.branches = rows, branches
        ctx.down_mask, ctx.up_mask = down_mask, up_mask
        ctx.norm = norm
        ctx.save_for_backward(x if norm is None else None, z, *matrices)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, z, *matrices = ctx.saved_tensors
        downs, ups, scales = _groups(matrices, len(ctx.rows), ctx.branches)
        widths = [ctx.branches * group[0].shape[0] for group in downs]
        grad_hidden: list[Tensor] = []
        grad_ups: list[Tensor] = []
        grad_scales: list[Tensor] = []
        for p, (part, hidden) in enumerate(zip(ctx.rows, z.split(widths), strict=True)):
            up, factor = _joined(ups[p], 1), scales[p] if scales else part.scale
            grad_part = grad[:, part.start : part.stop]
            grad_up = (hidden @ grad_part).t()
            if scales:
                grad_scales.append((grad_up * up).sum())
            if scales or part.scale != 1:
                grad_up, up = grad_up * factor, up * factor
            grad_ups += _parted(grad_up, ctx.branches, 1)
            grad_hidden.append(up.t() @ grad_part.t())
        dz = _joined(grad_hidden, 0)
        if ctx.down_mask is not None:
            routing = Routing(ctx.up_mask, ctx.down_mask)
            dz = route(dz.t(), routing, downs[0][0].shape[0]).t()
        joined = _joined([a for group in downs for a in group], 0)
        grad_x = dz.t() @ joined if ctx.needs_input_grad[6] else None
        grad_down = dz @ x if ctx.norm is None else product_with_input(ctx.norm, dz)
        grad_downs = [
            grad_branch
            for group in grad_down.to(dz.dtype).split(widths, 0)
            for grad_branch in _parted(group, ctx.branches, 0)
        ]
        return grad, *(None,) * 5, grad_x, *grad_downs, *grad_ups, *grad_scales


def _groups(
    matrices: Sequence[Tensor], parts: int, branches: int
) -> tuple[list[Sequence[Tensor]], list[Sequence[Tensor]], Sequence[Tensor]]:
    """The down and the up matrices of each part, and the learned scales."""
    count = parts * branches
    starts = range(0, count, branches)
    return (
        [matrices[i : i + branches] for i in starts],
        [matrices[count + i : count + i + branches] for i in starts],
        matrices[2 * count :],
    )


def _joined(tensors: Sequence[Tensor], dim: int) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tuple(tensors), dim)


def _parted(tensor: Tensor, count: int, dim: int) -> Sequence[Tensor]:
    return [tensor] if count == 1 else tensor.chunk(count, dim)

"""The sum of a frozen layer's output and low-rank updates of some of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx


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
) -> Tensor:
    r"""Add low-rank updates to rows of an output.

    .. math::
        y_{R_p} + s_p B_p A_p x \quad\text{for each update } p

    One product serves all :math:`A_p`, updates are written into their rows only, and
    backward needs x, the hidden features and the matrices themselves, no copy of them.

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

    Returns:
        Tensor: A new tensor of y's shape and type. Everything is computed in that type.
    """
    inputs = [
        *(a for group in downs for a in group),
        *(b for group in ups for b in group),
    ]
    inputs = [tensor.to(y.dtype) for tensor in (x, *inputs, *scales)]
    return _LowRankUpdate.apply(y, tuple(rows), len(downs[0]), routing, *inputs)


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
    z = z.view(images, -1, updates, branches, rank)
    chosen = (z * down).sum(3, keepdim=True)
    return (chosen * up).view(-1, updates * branches * rank)


class _LowRankUpdate(Function):
    """See :func:`add_low_rank`; written out so that each product is done once."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        y: Tensor,
        rows: tuple[Rows, ...],
        branches: int,
        routing: Routing | None,
        x: Tensor,
        *matrices: Tensor,
    ) -> Tensor:
        count = len(rows) * branches
        downs, ups, scales = (
            matrices[:count],
            matrices[count : 2 * count],
            matrices[2 * count :],
        )
        rank = downs[0].shape[0]
        z = x @ _joined(downs, 0).t()
        if routing is not None:
            z = route(z, routing, rank)
        out = y.clone()
        for p, (part, hidden) in enumerate(zip(rows, z.chunk(len(rows), 1), strict=True)):
            up = _joined(ups[p * branches : (p + 1) * branches], 1)
            up = up * scales[p] if scales else up
            out[:, part.start : part.stop].addmm_(hidden, up.t(), alpha=part.scale)
        ctx.rows, ctx.branches, ctx.routing, ctx.rank = rows, branches, routing, rank
        ctx.save_for_backward(x, z, *matrices)
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, z, *matrices = ctx.saved_tensors
        rows, branches = ctx.rows, ctx.branches
        count = len(rows) * branches
        downs, ups = matrices[:count], matrices[count : 2 * count]
        scales = matrices[2 * count :]
        grad_z, grad_ups, grad_scales = [], [], []
        for p, (part, hidden) in enumerate(zip(rows, z.chunk(len(rows), 1), strict=True)):
            up = _joined(ups[p * branches : (p + 1) * branches], 1)
            grad_part = grad[:, part.start : part.stop]
            grad_up = grad_part.t() @ hidden
            if scales:
                grad_scales.append((grad_up * up).sum())
                grad_up = grad_up * scales[p]
                up = up * scales[p]
            elif part.scale != 1:
                grad_up = grad_up * part.scale
                up = up * part.scale
            grad_ups += grad_up.split(ctx.rank, 1) if branches > 1 else [grad_up]
            grad_z.append(grad_part @ up)
        dz = _joined(grad_z, 1)
        if ctx.routing is not None:
            dz = route(dz, Routing(ctx.routing.up, ctx.routing.down), ctx.rank)
        grad_x = dz @ _joined(downs, 0) if ctx.needs_input_grad[4] else None
        grad_downs = (dz.t() @ x).split(ctx.rank, 0) if count > 1 else [dz.t() @ x]
        return grad, None, None, None, grad_x, *grad_downs, *grad_ups, *grad_scales


def _joined(tensors: Sequence[Tensor], dim: int) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tuple(tensors), dim)

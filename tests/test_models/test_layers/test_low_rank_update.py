"""The sum of a layer's output and low-rank updates."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmdmlora.models.layers.low_rank_update import Routing, Rows, add_low_rank

IMAGES, TOKENS, IN, OUT, RANK = 4, 5, 12, 9, 2
ROWS = (Rows(0, 3, 0.5), Rows(6, 9))


class Products(TorchDispatchMode):
    """Collects the shapes of the factors of each matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[torch.Size, torch.Size]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.mm.default:
            self.shapes.append((args[0].shape, args[1].shape))
        return func(*args, **(kwargs or {}))


def leaves(*shapes):
    return [
        torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes
    ]


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    y, x = leaves((IMAGES * TOKENS, OUT), (IMAGES * TOKENS, IN))
    downs = [leaves(*[(RANK, IN)] * 2) for _ in ROWS]
    ups = [leaves(*[(3, RANK)] * 2) for _ in ROWS]
    return y, x, downs, ups


def masks(branches):
    """One-hot masks of the branches (images, updates)."""
    return torch.nn.functional.one_hot(torch.tensor(branches), 2).bool()


def gradients(output, y, x, downs, ups):
    matrices = [matrix for groups in (downs, ups) for group in groups for matrix in group]
    inputs = [y, x, *matrices]
    grad = torch.linspace(-1, 1, output.numel(), dtype=torch.float64)
    return torch.autograd.grad(
        output, inputs, grad.view_as(output), allow_unused=True, materialize_grads=True
    )


@pytest.mark.parametrize('is_routed', [False, True])
def test_the_formula(tensors, is_routed):
    """Against the sum written out image by image."""
    y, x, downs, ups = tensors
    down, up = [[0, 1], [1, 1], [0, 0], [1, 0]], [[1, 1], [0, 1], [0, 0], [1, 1]]
    routing = Routing(masks(down), masks(up))
    if is_routed:
        got = add_low_rank(y, x, ROWS, downs, ups, routing=routing)
    else:
        down = up = [[0, 0]] * IMAGES
        first = [[group[0]] for group in downs], [[group[0]] for group in ups]
        got = add_low_rank(y, x, ROWS, *first)
    parts = []
    for image, (part, given) in enumerate(
        zip(x.view(IMAGES, TOKENS, IN), y.view(IMAGES, TOKENS, OUT), strict=True)
    ):
        updates = [
            rows.scale * part @ downs[p][down[image][p]].t() @ ups[p][up[image][p]].t()
            for p, rows in enumerate(ROWS)
        ]
        gap = torch.zeros(TOKENS, 3, dtype=torch.float64)
        parts.append(given + torch.cat([updates[0], gap, updates[1]], 1))
    exact = torch.cat(parts)
    torch.testing.assert_close(got, exact)
    torch.testing.assert_close(gradients(got, *tensors), gradients(exact, *tensors))


def test_the_narrow_matrix_is_on_the_left(tensors):
    """A CPU takes up to five times as long for one on the right."""
    y, x, downs, ups = tensors
    first = [[group[0]] for group in downs], [[group[0]] for group in ups]
    with Products() as products:
        add_low_rank(y, x, ROWS, *first).sum().backward()
    assert len(products.shapes) == 7
    assert not any(right[1] in (RANK, RANK * len(ROWS)) for _, right in products.shapes)

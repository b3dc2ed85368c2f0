"""One adapted layer of any shape: its pairs, their mean, and the folded weight."""

from __future__ import annotations

import copy
from itertools import product

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mmdmlora.models.drawing import draw_pair
from mmdmlora.models.layers.adapted_layer import AdaptedLayer
from mmdmlora.models.layers.mix_lora import MixLoRA
from tests.test_properties.expected_outputs import (
    TOLERANCE,
    kept,
    mean_delta,
    outputs,
    pair_delta,
)
from tests.tiny import paths_of

SIZES = st.integers(1, 9)


class Row(nn.Module):
    """A layer with the interface of a backbone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.layer(x),)


@st.composite
def adapted_layers(draw) -> tuple[AdaptedLayer, Tensor]:
    """A layer with random weights, some branches pruned, and an input for it."""
    torch.manual_seed(draw(st.integers(0, 99)))
    parts = draw(st.lists(st.sampled_from('qkv'), min_size=1, unique=True) | st.none())
    columns, rows = draw(SIZES), draw(SIZES)
    limit = min(columns, rows)
    adapters = {}
    for part in parts or ['all']:
        count = draw(st.integers(1, 4))
        scale = draw(st.floats(1e-2, 1e2))
        adapter = MixLoRA(columns, rows, draw(st.integers(1, limit)), count, scale)
        for branch in adapter.up:
            nn.init.normal_(branch)
        if count > 1:
            some = st.sets(st.integers(0, count - 1), min_size=1).map(sorted).map(tuple)
            adapter.active_indices = (draw(some), draw(some))
        adapters[part] = adapter
    outputs = 3 * rows if parts else rows
    shape = draw(st.sampled_from([(), (2,), (2, 3)]))
    x = torch.randn(*shape, columns, dtype=torch.double)
    layer = nn.Linear(columns, outputs, bias=draw(st.booleans()))
    if draw(st.booleans()):
        layer = nn.Conv2d(columns, outputs, 1)
        x = torch.randn(2, columns, 2, 3, dtype=torch.double)
    return AdaptedLayer(layer, adapters).double(), x


def with_deltas(layer: AdaptedLayer, deltas: dict[str, Tensor]) -> nn.Module:
    """The frozen layer with these updates in the rows of their parts."""
    changed = copy.deepcopy(layer.original)
    with torch.no_grad():
        for part, delta in deltas.items():
            weight = changed.weight.flatten(1)
            start = 0 if part == 'all' else 'qkv'.index(part) * len(delta)
            weight[start : start + len(delta)] += delta
    return changed


@given(adapted_layers(), st.data())
def test_training_output_is_that_of_the_drawn_pairs(case, data):
    layer, x = case
    deltas, chosen = {}, {}
    for part, adapter in layer.adapters.items():
        pairs = product(kept(adapter, 'down'), kept(adapter, 'up'))
        pair = data.draw(st.sampled_from(list(pairs)))
        chosen[part] = pair
        deltas[part] = pair_delta(adapter, *pair)
    layer.paths = paths_of(layer, chosen)
    expected = with_deltas(layer, deltas)(x)
    torch.testing.assert_close(outputs(Row(layer), x, True), expected, **TOLERANCE)


@given(adapted_layers())
def test_evaluation_and_merge_are_the_mean_over_all_active_pairs(case):
    layer, x = case
    deltas = {part: mean_delta(adapter) for part, adapter in layer.adapters.items()}
    for part, adapter in layer.adapters.items():
        torch.testing.assert_close(adapter.delta_weight(), deltas[part], **TOLERANCE)
        down, up = adapter.branches()
        assert len(down) == len(kept(adapter, 'down'))
        assert len(up) == len(kept(adapter, 'up'))
    expected = with_deltas(layer, deltas)(x)
    torch.testing.assert_close(outputs(Row(layer), x), expected, **TOLERANCE)
    merged = copy.deepcopy(layer).merge()
    torch.testing.assert_close(merged(x), expected, **TOLERANCE)


@given(adapted_layers())
def test_rows_without_an_adapter_are_untouched(case):
    layer, x = case
    dim = 1 if layer.is_conv else -1
    ours = outputs(Row(layer), x).chunk(3, dim)
    frozen = layer.original(x).chunk(3, dim)
    if 'all' not in layer.adapters:
        for part, mine, theirs in zip('qkv', ours, frozen, strict=True):
            assert part in layer.adapters or torch.equal(mine, theirs)


@given(
    seed=st.integers(0, 2**63 - 1),
    step=st.integers(0, 10**6),
    layer=st.text(),
    down=st.sets(st.integers(0, 20), min_size=1).map(sorted),
    up=st.sets(st.integers(0, 20), min_size=1).map(sorted),
)
def test_draws_are_active_and_repeatable(seed, step, layer, down, up):
    pair = draw_pair(seed, step, layer, down, up)
    assert pair[0] in down and pair[1] in up
    torch.rand(1)
    assert draw_pair(seed, step, layer, down, up) == pair


@given(
    seed=st.integers(0, 2**63 - 1),
    layer=st.text(),
    down=st.sets(st.integers(0, 9), min_size=1, max_size=3).map(sorted),
    up=st.sets(st.integers(0, 9), min_size=1, max_size=3).map(sorted),
)
def test_each_pair_is_drawn(seed, layer, down, up):
    pairs = {draw_pair(seed, step, layer, down, up) for step in range(300)}
    assert pairs == set(product(down, up))

"""Layers with different numbers of branches, pruned in any order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdmlora.models.pruning import CRITERIA
from mmdmlora.quiet_log import quiet_log
from tests.tiny import wrapped

COUNTS = st.integers(1, 5)


@given(
    counts=st.tuples(COUNTS, COUNTS),
    prunings=st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from(CRITERIA), st.integers(1, 4)),
        min_size=1,
        max_size=4,
    ),
)
def test_each_layer_stops_at_the_minimum(counts, prunings):
    targets = [
        dict(type=f'layers.{index}.attn.qkv', num_branches=count)
        for index, count in enumerate(counts)
    ]
    with quiet_log():
        model = wrapped('DMLoRAModel', rank=1, targets=targets)
    left = list(counts)
    for num, criterion, least in prunings:
        if num > max(left) - least:
            with pytest.raises(ValueError, match='cannot drop'):
                model.prune_branches(num, criterion, least)
        else:
            model.prune_branches(num, criterion, least)
            left = [max(count - num, min(count, least)) for count in left]
        for kind in (0, 1):
            active = [len(a.active()[kind]) for a in model.adapters.values()]
            assert active == left
        assert model.num_branches == max(left)
        assert model.total_branches == max(counts)

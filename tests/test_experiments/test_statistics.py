"""The paired comparison and its sign-flip test."""

import numpy as np
import pytest
from scipy.stats import permutation_test

from mmdmlora.experiments.statistics import FEWEST_PAIRS, compare, sign_flip_p


def scipy_p(differences: np.ndarray, **options) -> float:
    zeros = np.zeros_like(differences)
    return permutation_test(
        (differences, zeros),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type='samples',
        vectorized=True,
        **options,
    ).pvalue


@pytest.mark.parametrize('pairs, shift', [(2, 0.3), (5, 0.0), (9, 0.6), (13, -0.5)])
def test_the_exact_test_is_scipys(pairs, shift):
    differences = np.random.default_rng(pairs).normal(shift, size=pairs)
    expected = scipy_p(differences, n_resamples=2**pairs)
    assert sign_flip_p(list(differences)) == pytest.approx(expected)


def test_many_pairs_are_drawn_and_seeded():
    differences = list(np.random.default_rng(0).normal(0.4, size=30))
    found = sign_flip_p(differences)
    expected = scipy_p(np.array(differences), n_resamples=20_000, rng=1)
    assert found == sign_flip_p(differences)
    assert found == pytest.approx(expected, abs=0.01)
    assert 0 < sign_flip_p([1.0] * 30) < 0.001


def test_equal_differences_are_counted_whatever_the_rounding():
    """All signs alike and their opposite: 2 of 2**k, also where sums are inexact."""
    for pairs in (1, 3, 6, 16):
        assert sign_flip_p([0.1] * pairs) == 2 / 2**pairs
    assert sign_flip_p([0.0, 0.0]) == 1
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1


def test_fewest_pairs_is_the_first_number_that_can_be_significant():
    assert (
        sign_flip_p([1.0] * FEWEST_PAIRS)
        < 0.05
        <= sign_flip_p([1.0] * (FEWEST_PAIRS - 1))
    )


def test_only_common_pairs_are_compared():
    first = {('a', 0): 3.0, ('a', 1): 5.0, ('b', 0): 1.0, ('c', 0): 100.0}
    second = {('a', 0): 1.0, ('a', 1): 2.0, ('b', 0): 2.0, ('a', 2): 100.0}
    found = compare(first, second)
    assert (found.pairs, found.tasks, found.tasks_agreeing) == (3, 2, 1)
    assert found.mean == pytest.approx(4 / 3)
    assert found.deviation == pytest.approx(np.std([2, 3, -1], ddof=1))
    assert compare(first, {('d', 0): 1.0}) is None
    swapped = compare(second, first)
    assert (swapped.mean, swapped.p) == (-found.mean, found.p)


def test_one_pair_has_no_deviation():
    assert compare({('a', 0): 1.0}, {('a', 0): 0.0}).deviation is None

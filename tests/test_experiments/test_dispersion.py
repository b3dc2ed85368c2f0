"""Distances of branches, of their products, and the range after t-SNE."""

from itertools import combinations

import numpy as np
import pytest
import torch

from mmdmlora.experiments import dispersion as module
from mmdmlora.experiments.dispersion import (
    branch_dispersion,
    dispersion,
    null_branches,
    pair_gram,
)
from mmdmlora.models.layers.mix_lora import MixLoRA

GENERATOR = np.random.default_rng(0)


@pytest.fixture
def without_tsne(monkeypatch):
    """t-SNE takes seconds: here the first two coordinates take its place."""

    def first_two(branches, perplexity, seed):
        places = branches[:, :2]
        return float(np.ptp(places, axis=0).sum()), places

    monkeypatch.setattr(module, 'branch_dispersion', first_two)


@pytest.mark.parametrize('n, rank, inputs, outputs', [(2, 1, 4, 4), (3, 2, 7, 5)])
def test_measures_are_those_of_the_built_matrices(n, rank, inputs, outputs, without_tsne):
    down = GENERATOR.normal(size=(n, rank, inputs))
    up = GENERATOR.normal(size=(n, outputs, rank))
    found = dispersion(down, up).measures
    vectors = dict(down=[a.ravel() for a in down], up=[b.ravel() for b in up])
    vectors['delta-W'] = [(b @ a).ravel() for a in down for b in up]
    for name, flat in vectors.items():
        pairs = list(combinations(flat, 2))
        distances = [np.linalg.norm(x - y) for x, y in pairs]
        cosines = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in pairs]
        assert found[f'distance ({name})'] == pytest.approx(np.mean(distances))
        assert found[f'cosine ({name})'] == pytest.approx(np.mean(cosines))


def test_products_of_other_numbers_of_branches():
    down, up = GENERATOR.normal(size=(2, 3, 6)), GENERATOR.normal(size=(4, 5, 3))
    flat = np.array([(b @ a).ravel() for a in down for b in up])
    gram = pair_gram(down, up.swapaxes(1, 2))
    np.testing.assert_allclose(gram, flat @ flat.T, atol=1e-9)


def test_points_are_rows_of_down_and_columns_of_up(without_tsne):
    down = GENERATOR.normal(size=(4, 2, 6))
    up = GENERATOR.normal(size=(4, 5, 2))
    found = dispersion(down, up)
    rows, columns = down.reshape(8, 6), up.swapaxes(1, 2).reshape(8, 5)
    ranges = [float(np.ptp(points[:, :2], axis=0).sum()) for points in (rows, columns)]
    assert found.measures['t-SNE range (down)'] == pytest.approx(ranges[0])
    assert found.measures['t-SNE range'] == pytest.approx(np.mean(ranges))
    coordinates = np.array(found.coordinates)
    np.testing.assert_allclose(coordinates[:, :2], columns[:, :2])
    assert coordinates[:, 2].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_null_keeps_mean_and_lengths_but_no_direction():
    branches = (
        3 + GENERATOR.normal(size=(8, 4, 500)) * np.linspace(1, 2, 8)[:, None, None]
    )
    null = null_branches(branches, np.random.default_rng(0))
    mean = branches.mean(0)
    lengths = [np.linalg.norm(each - mean, axis=(1, 2)) for each in (branches, null)]
    np.testing.assert_allclose(*lengths)
    np.testing.assert_allclose(null.mean(0), mean, atol=1.5)
    ours, others = (branches - mean).ravel(), (null - mean).ravel()
    assert abs(ours @ others) < 0.05 * np.linalg.norm(ours) * np.linalg.norm(others)


def test_clusters_show_against_the_null(without_tsne):
    """Two heaps of equal branches: half of the distances are nearly zero."""
    heaps = np.repeat(GENERATOR.normal(size=(2, 2, 300)), 4, axis=0)
    down = heaps + 0.01 * GENERATOR.normal(size=heaps.shape)
    measures = dispersion(down, down.swapaxes(1, 2)).measures
    for name in ('down', 'up', 'delta-W'):
        assert measures[f'distance ({name})'] < 0.9 * measures[f'null distance ({name})']


def test_a_fresh_adapter(without_tsne):
    """Its up branches are zero: no distance, no direction in common."""
    down, up = MixLoRA(12, 10, rank=2, num_branches=3).branches()
    measures = dispersion(down.detach().numpy(), up.detach().numpy()).measures
    assert measures['distance (up)'] == measures['cosine (up)'] == 0
    assert measures['distance (delta-W)'] == measures['cosine (delta-W)'] == 0
    assert all(np.isfinite(value) for value in measures.values())


def test_tsne_on_trained_like_branches():
    """The real t-SNE: plain floats, a range that is that of the coordinates."""
    points = GENERATOR.normal(size=(12, 5))
    length, places = branch_dispersion(points, perplexity=3, seed=1)
    assert places.shape == (12, 2)
    assert length == pytest.approx(float(np.ptp(places, axis=0).sum()))
    again, _ = branch_dispersion(points, perplexity=3, seed=1)
    assert length == again


@pytest.mark.parametrize(
    'down, perplexity, message',
    [
        (torch.zeros(1, 2, 6), 1.0, 'at least two branches'),
        (torch.zeros(2, 6), 1.0, r'shape \(2, 6\)'),
        (torch.full((4, 2, 6), torch.nan), 1.0, 'not finite'),
        (torch.randn(4, 2, 6), 8.0, 'got 8 points: set a smaller one'),
        (torch.randn(4, 2, 6), 0.0, 'perplexity=0.0 must be above 0'),
    ],
)
def test_what_has_no_dispersion_is_refused(down, perplexity, message):
    with pytest.raises(ValueError, match=message):
        dispersion(down, torch.randn(4, 5, 2), perplexity)

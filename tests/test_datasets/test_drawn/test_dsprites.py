"""The sprites: their labels are measured again in the pixels."""

import numpy as np
import pytest

from mmdmlora.datasets.drawn import dsprites


def centroid(image):
    rows, columns = np.nonzero(image)
    return columns.mean() + 0.5, rows.mean() + 0.5


@pytest.mark.parametrize('seed', [0, 1])
def test_no_sprite_has_the_factors_of_another(seed):
    factors = dsprites.draw_factors(range(3000), seed)
    assert len(np.unique(factors, axis=0)) == 3000
    assert (factors.min(0) == 0).all()
    assert factors.max(0).tolist() == [2, 5, 39, 31, 31]


@pytest.mark.parametrize('values', [32, 40])
def test_bins_are_those_of_vtab(values):
    bins = [dsprites.bin_of(i, values) for i in range(values)]
    assert bins == [int(np.floor(i / (values / 16))) for i in range(values)]
    assert sorted(set(bins)) == list(range(16)) and bins == sorted(bins)


def test_bins_of_some_orientations():
    assert [dsprites.bin_of(i, 40) for i in (0, 2, 3, 4, 5, 39)] == [0, 0, 1, 1, 2, 15]


def test_location_is_the_column_of_the_sprite():
    images, labels = dsprites.draw_sprites(range(1000), 0, 'x')
    factors = dsprites.draw_factors(range(1000), 0)
    symmetric = factors[:, 0] < 2
    columns = np.array([centroid(image[..., 0])[0] for image in images])
    # The 32 columns are 32 / 31 pixels apart and two of them make a class.
    index = (columns - 16) * 31 / 32
    error = index - (2 * labels + 0.5)
    assert np.abs(error[symmetric]).max() < 0.5 + 0.5
    assert np.corrcoef(columns, labels)[0, 1] > 0.99


def test_orientation_is_the_direction_of_the_ellipse():
    images, labels = dsprites.draw_sprites(range(1000), 0, 'orientation')
    factors = dsprites.draw_factors(range(1000), 0)
    for number in np.flatnonzero((factors[:, 0] == 1) & (factors[:, 1] == 5)):
        rows, columns = np.nonzero(images[number, ..., 0])
        covariance = np.cov(columns, rows)
        measured = np.arctan2(2 * covariance[0, 1], covariance[0, 0] - covariance[1, 1])
        turn = dsprites.ORIENTATIONS[factors[number, 2]]
        assert abs(np.angle(np.exp(1j * (measured - 2 * turn)))) < 0.15
        assert labels[number] == factors[number, 2] * 16 // 40


@pytest.mark.parametrize('shape', range(3))
def test_area_grows_with_the_square_of_the_scale(shape):
    areas = [
        np.mean([(dsprites.render(shape, s, o, 9, 20) > 0).sum() for o in range(40)])
        for s in range(6)
    ]
    np.testing.assert_allclose(areas / areas[5], np.linspace(0.5, 1, 6) ** 2, rtol=0.03)


def test_areas_are_those_of_the_curves():
    square, ellipse = (
        np.mean([(dsprites.render(s, 5, o, 16, 16) > 0).sum() for o in range(40)])
        for s in (0, 1)
    )
    assert square == pytest.approx(18**2, rel=0.02)
    assert ellipse == pytest.approx(np.pi * 13 * 6.5, rel=0.02)


@pytest.mark.parametrize('shape', range(3))
def test_moving_a_factor_of_position_moves_the_sprite(shape):
    still = centroid(dsprites.render(shape, 3, 7, 4, 6))
    moved = centroid(dsprites.render(shape, 3, 7, 24, 11))
    shift = np.subtract(moved, still)
    np.testing.assert_allclose(shift, [20 * 32 / 31, 5 * 32 / 31], atol=0.3)


def test_sprites_stay_inside_and_are_white_on_black():
    images, _ = dsprites.draw_sprites(range(1000), 1, 'x')
    assert set(np.unique(images)) == {0, 255}
    assert not images[:, [0, 1, -2, -1]].any() and not images[:, :, [0, -1]].any()
    assert (images == images[..., :1]).all()


def test_a_full_turn_is_the_same_picture():
    for shape in range(3):
        first, last = (dsprites.render(shape, 4, o, 5, 5) for o in (0, 39))
        assert (first != last).sum() <= 2
        assert (first != dsprites.render(shape, 4, 4, 5, 5)).sum() > 10


def test_the_heart_points_down_upright_and_up_after_half_a_turn():
    def mean_minus_middle(orientation):
        rows = np.nonzero(dsprites.render(2, 5, orientation, 16, 16).any(axis=1))[0]
        widths = dsprites.render(2, 5, orientation, 16, 16).sum(axis=1)[rows]
        return np.average(rows, weights=widths) - (rows[0] + rows[-1]) / 2

    assert mean_minus_middle(0) < -0.5
    assert mean_minus_middle(19) > 0.5 or mean_minus_middle(20) > 0.5

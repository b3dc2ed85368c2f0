"""Ratios are paired, spreads are quartiles, rates follow from them."""

import pytest

from mmdmlora.apis.benchmark.measurement import Measurement, rows


def test_ratios_are_medians_of_paired_steps():
    floor = _measured('forward', [0.5, 1.0, 1.0], [1.0, 1.0, 1.0])
    first = _measured('lora', [1.0, 2.0, 4.0], [1.0, 1.5, 1.0])
    other = _measured('dmlora', [2.0, 2.0, 4.4], [0.5, 1.25, 1.25], batch=6)
    table = rows(floor, [first, other])
    assert [row['method'] for row in table] == ['forward', 'lora', 'dmlora']
    assert [row['ratio_to_first'] for row in table] == [0.5, 1.0, pytest.approx(1.1)]
    ratios = [row['ratio_to_two_forwards'] for row in table]
    assert ratios == [0.5, 1.0, 2.0]
    ratios = [row['evaluation_ratio_to_forward'] for row in table]
    assert ratios == [1.0, 1.0, 1.25]
    assert table[-1]['images_per_second'] == 3.0


def _measured(name, seconds, evaluation_seconds, **other):
    return Measurement(
        name, 0, seconds=seconds, evaluation_seconds=evaluation_seconds, **other
    )


def test_spread_is_the_middle_half():
    assert Measurement('x', 0, seconds=[5.0, 1.0, 2.0, 3.0, 4.0]).quartiles == (2, 4)
    assert Measurement('x', 0, seconds=[7.0]).quartiles == (7, 7)


def test_peak_is_weights_and_step():
    assert Measurement('x', 0, step_bytes=3, weight_bytes=4).peak_bytes == 7

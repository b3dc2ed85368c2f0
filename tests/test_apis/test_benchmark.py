"""The benchmark measures what it says it does."""

from pathlib import Path

import pytest

from mmdmlora.apis.benchmark import METHODS, Timing, benchmark, table
from mmdmlora.apis.compose import load_config

BACKBONES = Path(__file__).parents[2] / 'configs' / '_base_' / 'backbones'


@pytest.fixture
def config():
    return load_config(BACKBONES / 'vit-tiny.py')


def test_every_method_takes_its_steps(config):
    rounds = []
    timings = benchmark(config, list(METHODS), 2, 2, warmup=1, progress=rounds.append)
    assert [t.name for t in timings] == list(METHODS) and rounds == [1, 2]
    assert all(len(t.seconds) == 2 and min(t.seconds) > 0 for t in timings)
    trained = {t.name: t.trained for t in timings}
    head = 96 * 10 + 10
    lora = 4 * 2 * 8 * (96 + 96)  # layers, q and v, rank, in and out
    assert trained['linear'] == head
    assert trained['lora'] == head + lora
    assert trained['dmlora'] == head + 8 * lora
    assert trained['dmlora-ls'] == head + 8 * lora + 8
    assert trained['mmpretrain-lora'] == head + 4 * 8 * (96 + 3 * 96)


def test_ratio_is_the_median_of_paired_steps():
    base = Timing('lora', 10, [1.0, 2.0, 4.0])
    other = Timing('dmlora', 20, [2.0, 2.0, 4.4])
    last = table([base, other]).splitlines()[-1]
    assert last == '| dmlora | 20 | 2000.0 | 2000.0 to 4400.0 | 1.100 | - |'


def test_unknown_method(config):
    with pytest.raises(ValueError, match=r"unknown methods \['x'\]"):
        benchmark(config, ['x'], 2, 1)

"""The benchmark measures what it says it does."""

from pathlib import Path

import pytest
import torch

from mmdmlora.apis.benchmark import (
    METHODS,
    Timing,
    Trainee,
    build_trainees,
    measure_side_by_side,
    table,
)
from mmdmlora.apis.compose import load_config

BACKBONES = Path(__file__).parents[2] / 'configs' / '_base_' / 'backbones'


@pytest.fixture
def config():
    return load_config(BACKBONES / 'vit-tiny.py')


def test_every_method_takes_its_steps(config):
    rounds = []
    trainees = build_trainees(config, list(METHODS), 2, 'cpu', torch.float32)
    timings = measure_side_by_side(trainees, 2, warmup=1, progress=rounds.append)
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
    other = Timing('dmlora', 20, [2.0, 2.0, 4.4], step_bytes=3 * 2**19)
    last = table([base, other]).splitlines()[-1]
    assert last == '| dmlora | 20 | 2000.0 | 2000.0 to 4400.0 | 1.100 | 1.5 |'


def test_unknown_method(config):
    with pytest.raises(ValueError, match=r"unknown methods \['x'\]"):
        build_trainees(config, ['x'], 2, 'cpu', torch.float32)


def test_step_memory_is_what_backward_and_the_optimizer_keep():
    """One linear layer: the input is kept, then the gradient and two moments."""
    model = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmpretrain.LeNet5', num_classes=-1),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', in_channels=120, num_classes=7),
    )
    trainee = Trainee('x', model, 32, batch=3)
    trainee.images = trainee.images[:, :1]
    trainee.model.backbone.requires_grad_(False)
    trainee.trained = list(trainee.model.head.parameters())
    trainee.step()
    trainee.measure_memory()
    weights = 120 * 7 + 7
    kept = 3 * 120 + 3 * 7  # the head's input and the log-probabilities, float32
    labels = 3 * 8
    optimizer = 2 * weights + 2  # two moments of each parameter, and two step counters
    expected = 4 * (weights + optimizer + kept) + labels
    assert expected <= trainee.timing.step_bytes <= expected + 16

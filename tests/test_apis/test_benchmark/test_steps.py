"""A step's time, memory and operations are what they are said to be."""

import pytest
import torch
from torch import nn

from mmdmlora.apis.benchmark.measurement import rows
from mmdmlora.apis.benchmark.steps import (
    ForwardStep,
    TrainingStep,
    measure_side_by_side,
)
from tests.tiny import wrapped


class Classifier(nn.Module):
    """Means of the channels and one trained linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 7)
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, images):
        self.modes.append((self.training, torch.is_grad_enabled()))
        return self.head(images.mean((2, 3)))


def test_steps_are_taken_in_turn():
    order, rounds = [], []
    steps = [
        ForwardStep('f', Classifier(), 4, 2),
        TrainingStep('a', Classifier(), 4, 2),
        TrainingStep('b', Classifier(), 4, 2),
    ]
    for step in steps:
        for kind in ('_time', '_time_evaluation'):
            _note(step, kind, order)
    floor, *methods = measure_side_by_side(steps, 2, 1, rounds.append)
    training, evaluation = order[:6], order[6:]
    assert training == [(name, '_time') for name in 'fabbaf']
    asked = [name for name, kind in evaluation if kind == '_time_evaluation']
    assert asked == [*'fabbaf'] and rounds == [1, 2, 3, 4]
    assert [row['trained_parameters'] for row in rows(floor, methods)] == [0, 28, 28]
    assert all(min(each.seconds) > 0 for each in (floor, *methods))
    assert floor.operations < methods[0].operations == methods[1].operations


def _note(step, kind, order):
    time = getattr(step, kind)

    def noted(*args):
        order.append((step.measurement.name, kind))
        return time(*args)

    setattr(step, kind, noted)


def test_the_floor_evaluates_without_gradients():
    model = Classifier()
    step = ForwardStep('forward', model, 4, 2)
    step.measure_step()
    step.measure_counts()
    assert set(model.modes) == {(False, False)}
    assert step.measurement.step_bytes == 0
    assert step.measurement.weight_bytes == 4 * 28


def test_step_memory_is_what_backward_and_the_optimizer_keep():
    step = TrainingStep('x', Classifier(), 4, batch=5)
    step.measure_counts()
    weights = 3 * 7 + 7
    kept = 5 * 3 + 5 * 7  # the head's input and the log-probabilities, float32
    labels = 5 * 8
    optimizer = 2 * weights + 2  # two moments of each parameter, and two step counters
    expected = 4 * (weights + optimizer + kept) + labels
    assert expected <= step.measurement.step_bytes <= expected + 16


def test_states_of_what_is_not_drawn_are_counted():
    """A parameter without a gradient in the measured step has its moments, too."""
    used, unused = Classifier(), Classifier()
    unused.branch = nn.Parameter(torch.zeros(100))
    steps = [TrainingStep('x', model, 4, 5) for model in (used, unused)]
    for step in steps:
        step.measure_counts()
    less, more = (step.measurement.step_bytes for step in steps)
    assert more - less == 4 * (2 * 100 + 1)


@pytest.mark.parametrize('kind', [ForwardStep, TrainingStep])
def test_bfloat16_is_autocast(kind):
    step = kind('x', Classifier(), 4, 2, dtype=torch.bfloat16)
    assert step._logits(step.model).dtype == torch.bfloat16


def test_evaluation_runs_folded_and_leaves_training_as_it_was():
    model = wrapped('LoRAModel', rank=2)
    folded = []
    layer = model.module.layers[0].attn.qkv
    model.register_forward_hook(
        lambda *_: folded.append((model.training, layer.folded is not None))
    )
    step = TrainingStep('lora', LastOutput(model), 32, 2)
    folded.clear()
    step.measure_step()
    step.measure_evaluation()
    assert folded == [(True, False), (False, True), (False, True)]
    assert model.training and layer.folded is None
    assert len(step.measurement.evaluation_seconds) == 1


class LastOutput(nn.Module):
    def __init__(self, model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images)[-1]

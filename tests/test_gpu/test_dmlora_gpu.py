"""What only a GPU can show: run with `pytest -m gpu`."""

import pytest
import torch

from tests.tiny import features, images, loss_of, randomize, wrapped

pytestmark = pytest.mark.gpu


@pytest.fixture
def model():
    model = wrapped('DMLoRAModel', num_branches=4, rank=2, learn_scale=True)
    randomize(model)
    return model.cuda().train()


def test_drawing_does_not_wait_for_the_device(model):
    """After the first step, which reads seed and masks, nothing synchronises."""
    x = images().cuda()
    weights = torch.randn_like(features(model, x))
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        (features(model, x) * weights).mean().backward()
        optimizer.step()

    for _ in range(3):
        step()
    torch.cuda.set_sync_debug_mode('error')
    try:
        for _ in range(5):
            step()
    finally:
        torch.cuda.set_sync_debug_mode('default')


def test_draws_are_those_of_the_cpu(model):
    twin = wrapped('DMLoRAModel', num_branches=4, rank=2, learn_scale=True).train()
    for _ in range(5):
        model(images().cuda())
        twin(images())
        assert model.draws.drawn() == twin.draws.drawn()


def test_bfloat16_autocast_trains(model):
    x = images().cuda()
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        with torch.autocast('cuda', torch.bfloat16):
            loss = loss_of(model, x)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_merge_equals_evaluation(model):
    model.eval()
    merged = model.merge()
    merged.eval()
    with torch.no_grad():
        difference = merged(images().cuda())[-1] - model(images().cuda())[-1]
    assert difference.abs().max() < 1e-4

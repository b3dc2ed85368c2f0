"""Accumulations of gradients that a checkpoint interrupts."""

from unittest import mock

import pytest
import torch
from mmengine.runner import Runner

from mmdmlora.engine.hooks import epoch_seed_hook
from mmdmlora.engine.hooks.accumulated_gradients_hook import GRADIENTS
from tests.test_engine.toy_runner import toy_config

HOOKS = [
    {'type': 'mmdmlora.EpochSeedHook'},
    {'type': 'mmdmlora.AccumulatedGradientsHook'},
    {'type': 'mmdmlora.PlainCheckpointHook'},
]
STEPS = 3  # in an epoch


def make(work_dir, counts, **options) -> Runner:
    cfg = toy_config(work_dir, hooks=HOOKS, max_epochs=3, **options)
    cfg.optim_wrapper.accumulative_counts = counts
    return Runner.from_cfg(cfg)


@pytest.mark.parametrize('counts', [1, 2, 3, 4, 7])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, counts):
    whole = make(tmp_path / 'whole', counts)
    whole.train()
    for epoch in (1, 2):
        file = tmp_path / 'whole' / f'epoch_{epoch}.pth'
        saved = torch.load(file, weights_only=True)
        assert (GRADIENTS in saved) == (epoch * STEPS % counts != 0)
        resumed = make(
            tmp_path / f'from_{epoch}', counts, resume=True, load_from=str(file)
        )
        resumed.train()
        for name, tensor in whole.model.state_dict().items():
            assert torch.equal(resumed.model.state_dict()[name], tensor), name


def test_weights_alone_bring_no_gradients(tmp_path):
    make(tmp_path, 2).train()
    start = make(tmp_path / 'new', 2, load_from=str(tmp_path / 'epoch_1.pth'))
    start.load_or_resume()
    assert all(p.grad is None for p in start.model.parameters())


@pytest.mark.parametrize('counts, warns', [(1, False), (2, True), (3, False)])
def test_several_processes_are_warned(tmp_path, caplog, counts, warns):
    runner = make(tmp_path, counts)
    runner.logger.addHandler(caplog.handler)
    with mock.patch.object(epoch_seed_hook, 'get_world_size', return_value=2):
        runner.call_hook('before_train')
    text = f'accumulative_counts={counts} does not divide the 3 steps between checkpoints'
    assert (text in caplog.text) == warns

import logging
import random

import numpy as np
import pytest
import torch
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner

from mmdmlora.engine.seeding import epoch_worker_init_fn, seed_everything
from tests.test_engine.toy_runner import added_noise, toy_config, toy_runner

HOOKS = [{'type': 'mmdmlora.EpochSeedHook'}, {'type': 'mmdmlora.PlainCheckpointHook'}]


def draw() -> tuple:
    return random.random(), np.random.rand(), torch.rand(()).item()


def weights(runner) -> bytes:
    state = runner.model.state_dict()
    return b''.join(tensor.numpy().tobytes() for tensor in state.values())


def sorted_noise(seen: list) -> torch.Tensor:
    return added_noise(seen).sort(0).values


@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_resumed_run_equals_an_unbroken_one(num_workers, tmp_path):
    whole = toy_runner(tmp_path / 'whole', hooks=HOOKS, num_workers=num_workers)
    whole.train()
    draw()  # the resumed run starts from another state
    resumed = toy_runner(
        tmp_path / 'resumed',
        hooks=HOOKS,
        num_workers=num_workers,
        resume=True,
        load_from=str(tmp_path / 'whole' / 'epoch_1.pth'),
    )
    resumed.train()
    assert len(resumed.model.seen) == 3
    assert weights(resumed) == weights(whole)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_each_epoch_sees_other_augmentations(num_workers, tmp_path):
    runner = toy_runner(tmp_path, hooks=HOOKS, num_workers=num_workers)
    runner.train()
    first = sorted_noise(runner.model.seen[:3])
    second = sorted_noise(runner.model.seen[3:])
    for column in range(3):
        assert not torch.allclose(first[:, column], second[:, column], atol=1e-4)


def test_workers_draw_different_numbers(tmp_path):
    runner = toy_runner(tmp_path, hooks=HOOKS, num_workers=2, max_epochs=1)
    runner.train()
    assert (sorted_noise(runner.model.seen).diff(dim=0) > 1e-5).all()


@pytest.mark.parametrize('other', [(3, 1, 0), (3, 0, 1), (4, 0, 0)])
def test_seed_epoch_and_rank_each_matter(other):
    seed_everything(3, 0, 0)
    expected = draw()
    seed_everything(*other)
    assert not set(expected) & set(draw())
    seed_everything(3, 0, 0)
    assert draw() == expected


@pytest.mark.parametrize('registry_scope', ['mmengine', 'mmpretrain', 'mmdmlora'])
def test_the_runner_finds_the_worker_function(registry_scope):
    with FUNCTIONS.switch_scope_and_registry(registry_scope):
        found = FUNCTIONS.get('mmdmlora.epoch_worker_init_fn')
    assert found is epoch_worker_init_fn


@pytest.mark.parametrize(
    ('overrides', 'loader', 'expected'),
    [
        ({}, {}, None),
        ({}, {'num_workers': 1, 'persistent_workers': True}, 'persistent_workers'),
        ({'randomness': {'seed': None}}, {}, "randomness['seed']"),
    ],
)
def test_what_breaks_exactness_is_named(overrides, loader, expected, tmp_path, caplog):
    cfg = toy_config(tmp_path, hooks=HOOKS, **overrides)
    cfg.train_dataloader.update(loader)
    runner = Runner.from_cfg(cfg)
    runner.logger.addHandler(caplog.handler)
    runner.call_hook('before_train')
    warnings = [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and 'resumed run' in record.getMessage()
    ]
    assert len(warnings) == (expected is not None)
    assert expected is None or expected in warnings[0]

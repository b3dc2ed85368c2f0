"""What is pruned in the model is pruned in its average too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdmlora.apis.run import prepare
from tests.peft_runner import config
from tests.tiny import features, images


class AveragedOutputs(Hook):
    """Notes what the average computes, right before and right after each pruning."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, torch.Tensor]] = []

    def _note(self, runner: Runner, when: str) -> None:
        average = next(h for h in runner.hooks if hasattr(h, 'ema_model')).ema_model
        backbone = average.module.backbone.eval()
        with torch.no_grad():
            out = features(backbone, images())
        self.seen.append((when, backbone.num_branches, out))

    def before_train_epoch(self, runner: Runner) -> None:
        self._note(runner, 'after')

    def after_train_epoch(self, runner: Runner) -> None:
        self._note(runner, 'before')


def run(folder: Path, criterion: str, update_buffers: bool) -> AveragedOutputs:
    pruning = dict(
        type='BranchPruningHook', interval=1, min_branches=2, criterion=criterion
    )
    ema = dict(type='EMAHook', momentum=0.3, update_buffers=update_buffers)
    hooks = dict(branch_pruning=pruning)
    cfg = config(folder, hooks=hooks, custom_hooks=[ema], epochs=3)
    runner = Runner.from_cfg(prepare(cfg))
    noted = AveragedOutputs()
    runner.register_hook(noted, 'LOWEST')
    runner.train()
    return noted


@pytest.mark.parametrize('update_buffers', [False, True])
@pytest.mark.parametrize('criterion', ['merge', 'random'])
def test_an_average_has_the_branches_of_the_model(tmp_path, criterion, update_buffers):
    noted = run(tmp_path, criterion, update_buffers)
    assert [(when, count) for when, count, _ in noted.seen] == [
        ('after', 4),
        ('before', 4),
        ('after', 3),
        ('before', 3),
        ('after', 2),
        ('before', 2),
    ]
    for before, after in ((1, 2), (3, 4)):
        difference = (noted.seen[before][2] - noted.seen[after][2]).abs().max()
        assert (difference < 1e-5) == (criterion == 'merge')

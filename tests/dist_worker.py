"""One process of a distributed run: trains, then saves what it saw."""

import argparse
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdmlora.apis.run import prepare
from tests.peft_runner import config

HOOKS = dict(
    pruning=dict(type='BranchPruningHook', interval=1, min_branches=2),
    scalar=dict(type='LearningScalarHook'),
)


class DrawSpy(Hook):
    """Notes the branches drawn and the images seen in each step."""

    def __init__(self):
        self.drawn, self.seen = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.drawn.append(runner.model.module.backbone.draws.drawn())
        self.seen.append(float(data_batch['inputs'].double().sum()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('out', type=Path)
    parser.add_argument('--diff-rank-seed', action='store_true')
    args = parser.parse_args()
    randomness = dict(seed=0, diff_rank_seed=args.diff_rank_seed)
    cfg = config(args.out, hooks=HOOKS, launcher='pytorch', randomness=randomness)
    runner = Runner.from_cfg(prepare(cfg))
    spy = DrawSpy()
    runner.register_hook(spy)
    runner.train()
    torch.save(
        dict(
            state_dict=runner.model.module.state_dict(),
            drawn=spy.drawn,
            seen=spy.seen,
            find_unused_parameters=runner.model.find_unused_parameters,
        ),
        args.out / f'rank_{runner.rank}.pth',
    )


if __name__ == '__main__':
    main()

"""A Runner small enough for tests; as a script, one process of a distributed run."""

import random
import sys
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from torch import nn

import mmdmlora  # noqa: F401
from mmdmlora.engine import prepare_distributed

NUM_SAMPLES = 12
CLASSES = ('left', 'right')


@DATASETS.register_module()
class EngineToyDataset(torch.utils.data.Dataset):
    """Fixed points; in training noise from all three random number generators."""

    def __init__(self, augment: bool) -> None:
        self.augment = augment
        generator = torch.Generator().manual_seed(0)
        self.points = torch.randn(NUM_SAMPLES, 4, generator=generator)
        self.metainfo = {'classes': CLASSES, 'palette': np.array([[0, 1], [2, 3]])}

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, index: int) -> dict:
        point = self.points[index]
        label = int(point[0] > 0)
        if self.augment:
            noise = [random.random(), np.random.rand(), torch.rand(()).item(), 0.0]
            point = point + torch.tensor(noise)
        return {'inputs': point, 'label': label}


@MODELS.register_module()
class EngineToyModel(BaseModel):
    """Two layers with dropout; ``seen`` lists its training inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2)
        )
        self.seen = []

    def forward(self, inputs, label, mode='tensor'):
        logits = self.layers(inputs)
        if mode == 'loss':
            self.seen.append(inputs.detach().clone())
            return {'loss': nn.functional.cross_entropy(logits, label)}
        return list(logits.argmax(1) == label)


@METRICS.register_module()
class EngineToyMetric(BaseMetric):
    """Accuracy as a NumPy scalar, and the number of samples it comes from."""

    def process(self, data_batch, data_samples) -> None:
        self.results.extend(bool(right) for right in data_samples)

    def compute_metrics(self, results: list) -> dict:
        return {'acc': np.float64(np.mean(results)), 'count': len(results)}


def added_noise(seen: list) -> torch.Tensor:
    """The noise in batches of training inputs, in the order in which it was drawn.

    The last coordinate has no noise and tells which point a row comes from.
    """
    points = EngineToyDataset(augment=False).points
    rows = torch.cat(seen)
    source = (rows[:, 3:] == points[:, 3]).int().argmax(1)
    return (rows - points[source])[:, :3]


class SpyHook(Hook):
    """Keeps the history buffers of each save as mmengine hands them over."""

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.saved = []

    def before_save_checkpoint(self, runner, checkpoint) -> None:
        self.saved.append(dict(checkpoint['message_hub']['log_scalars']))


def toy_config(work_dir, num_workers=0, hooks=(), max_epochs=2, **overrides) -> Config:
    def loader(train: bool) -> dict:
        return {
            'dataset': {'type': 'EngineToyDataset', 'augment': train},
            'sampler': {'type': 'DefaultSampler', 'shuffle': train},
            'collate_fn': {'type': 'default_collate'},
            'batch_size': 4,
            'num_workers': num_workers,
        }

    train_loader = loader(train=True)
    if num_workers:
        train_loader['worker_init_fn'] = {'type': 'mmdmlora.epoch_worker_init_fn'}
    cfg = {
        'model': {'type': 'EngineToyModel'},
        'work_dir': str(work_dir),
        'experiment_name': uuid4().hex,
        'default_scope': 'mmengine',
        'train_dataloader': train_loader,
        'val_dataloader': loader(train=False),
        'val_evaluator': {'type': 'EngineToyMetric'},
        'train_cfg': {'by_epoch': True, 'max_epochs': max_epochs},
        'val_cfg': {},
        'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9}},
        'param_scheduler': {'type': 'MultiStepLR', 'milestones': [1]},
        'default_hooks': {
            'logger': {'type': 'LoggerHook', 'interval': 1},
            'checkpoint': {
                'type': 'CheckpointHook',
                'interval': 1,
                'save_best': 'acc',
                'rule': 'greater',
            },
        },
        'custom_hooks': list(hooks),
        'randomness': {'seed': 3},
        'log_level': 'WARNING',
        **overrides,
    }
    return Config(cfg)


def toy_runner(work_dir, **kwargs) -> Runner:
    return Runner.from_cfg(toy_config(work_dir, **kwargs))


def train_one_rank(out: Path) -> None:
    """Train and validate as one of the processes that torchrun starts."""
    hooks = [
        {'type': 'mmdmlora.EpochSeedHook'},
        {'type': 'mmdmlora.PlainCheckpointHook'},
    ]
    cfg = toy_config(out, hooks=hooks, launcher='pytorch')
    prepare_distributed(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    torch.save(
        {
            'wrapper': type(runner.model).__name__,
            'find_unused_parameters': runner.model.find_unused_parameters,
            'state_dict': runner.model.module.state_dict(),
            'seen': runner.model.module.seen,
            'count': runner.message_hub.get_scalar('val/count').current().item(),
        },
        out / f'rank_{runner.rank}.pth',
    )


if __name__ == '__main__':
    train_one_rank(Path(sys.argv[1]))

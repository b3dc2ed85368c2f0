"""A training of an experiment: its config, its key, and what it is measured on."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdmlora.apis.compose import load_config, read_quietly
from mmdmlora.apis.locations import find_config
from mmdmlora.apis.option_check import check_options

PARTS = ('search', 'test', 'paper')
# Splits to search on, to choose by, and to train on for the test.
SPLITS = dict(
    VTAB1k=('train800', 'val200', 'train800val200'),
    Digits=('train800', 'val200', 'train800val200'),
    GeneratedTask=('train800', 'val200', 'train800val200'),
    FGVC=('train', 'val', 'train'),
    FewShotFGVC=('train', 'val', 'train'),
)
# Configs share their parts.
_read = cache(read_quietly)
# What a result depends on, of a config.
SETTINGS = (
    *('model', 'data_preprocessor', 'optim_wrapper', 'param_scheduler', 'randomness'),
    *('train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg'),
    *('val_evaluator', 'test_evaluator', 'custom_hooks', 'load_from'),
)
# Of the hooks in default_hooks those that only write, watch or make it faster.
WITHOUT_EFFECT = (
    *('timer', 'logger', 'summary', 'adapter_monitor', 'runtime_info', 'checkpoint'),
    *('resume_check', 'num_class_check', 'finite_check', 'plain_checkpoint'),
    *('image_cache', 'merged_evaluation', 'visualization', 'console'),
)


@dataclass(frozen=True)
class Run:
    """A training and its evaluation.

    Attributes:
        config: The name of a config, ``<method>/<backbone>_<task>``, or a file.
        settings: Changes of it, as ``--cfg-options`` takes them: keys with dots.
        seed: The seed of the training.
        part: ``search``: trained on the training images, evaluated on the validation
            images after the last epoch. ``test``: trained on both (for FGVC and few-shot
            sets on the training images, as VPT and CoOp do), tested after the last
            epoch. ``paper``: as ``test``, and tested every ``train_cfg.val_interval``
            epochs too, so that the best of these can be shown.
        details: What else to record, names of
            :data:`~mmdmlora.experiments.execution.DETAILS`.
    """

    config: str
    settings: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    part: str = 'test'
    details: tuple[str, ...] = ()

    @cached_property
    def key(self) -> str:
        """A hash of everything that the training depends on.

        A file of weights counts by its content: it may lie elsewhere on another machine.
        """
        config = self.resolved()
        hooks = config['default_hooks'].items()
        content = {key: config[key] for key in SETTINGS if config.get(key) is not None}
        content['hooks'] = {k: v for k, v in hooks if k not in WITHOUT_EFFECT}
        content |= dict(part=self.part, details=self.details)
        text = json.dumps(_with_digests(content), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def max_epochs(self) -> int:
        """The epochs of its schedule."""
        return self.resolved()['train_cfg']['max_epochs']

    def resolved(self) -> dict[str, Any]:
        """The config with all changes.

        Raises:
            ValueError: If there is no such config or setting.
        """
        config = copy.deepcopy(_loaded(self.config))
        check_options(config, self.settings)
        config.merge_from_dict(copy.deepcopy(self.settings))
        config.merge_from_dict(dict(randomness=dict(seed=self.seed)))
        _use_splits(config, self.part)
        return config.to_dict()

    def command(self) -> str:
        """A training of the same images with the same settings, by hand."""
        split = self.resolved()['train_dataloader']['dataset']['split']
        options = {
            'randomness.seed': self.seed,
            'train_dataloader.dataset.split': split,
            **self.settings,
        }
        words = ' '.join(f'{key}={value}' for key, value in options.items())
        return f'mmdmlora train {self.config} --cfg-options {words}'


def _with_digests(node: Any) -> Any:
    """A config with the digest of each checkpoint that is a file in place of its path."""
    if isinstance(node, list | tuple):
        return [_with_digests(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _with_digests(value) for key, value in node.items()}
    checkpoint = node.get('checkpoint')
    if isinstance(checkpoint, str) and Path(checkpoint).is_file():
        node['checkpoint'] = _digest(checkpoint)
    return node


@cache
def _digest(file: str) -> str:
    digest = hashlib.sha256()
    with open(file, 'rb') as stream:
        while part := stream.read(2**20):
            digest.update(part)
    return digest.hexdigest()


@cache
def _loaded(name: str) -> Config:
    return load_config(find_config(name), _read)


def _use_splits(config: Config, part: str) -> None:
    """Choose what is trained on and what is evaluated, in place."""
    dataset = config.train_dataloader.dataset
    kind = str(dataset.type).removeprefix('mmdmlora.')
    if kind not in SPLITS:
        raise ValueError(
            f'the splits of {dataset.type} are unknown: experiments know '
            f'{", ".join(SPLITS)}.'
        )
    for_search, for_choice, for_test = SPLITS[kind]
    dataset.split = for_search if part == 'search' else for_test
    config.default_hooks.checkpoint.save_best = None
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    if part != 'test':
        config.val_dataloader = copy.deepcopy(config.test_dataloader)
        config.val_cfg, config.val_evaluator = {}, copy.deepcopy(config.test_evaluator)
    if part == 'search':
        config.val_dataloader.dataset.split = for_choice
        config.val_dataloader.dataset.cache = 'memory'
        config.test_dataloader = config.test_cfg = config.test_evaluator = None

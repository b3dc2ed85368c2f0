"""Checkpoints that a run can't go on from."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from mmdmlora.apis.compose import load_config
from mmdmlora.apis.run import train
from mmdmlora.engine.hooks.resume_check_hook import LAUNCH
from tests.test_reliability.tool import DMLORA, LORA, contents, run_options, run_tool

SHORT = ('train_cfg.max_epochs=4', 'train_dataloader.num_batch_per_epoch=2')
LAST = 'epoch_4.pth'


@functools.cache
def _finished() -> Path:
    """The folder of a run of four short epochs."""
    folder = Path(tempfile.mkdtemp())
    config = load_config(DMLORA)
    config.train_cfg.max_epochs = 4
    config.train_dataloader.num_batch_per_epoch = 2
    config.default_hooks.summary = None
    config.work_dir = str(folder)
    train(config)
    return folder


def _case(
    *options: str,
    config: str = DMLORA,
    change: Callable[[Path], None] = lambda run: None,
) -> Callable[[Path], str]:
    """Resume with other settings, or after a change of the files."""

    def case(folder: Path) -> str:
        run = folder / 'run'
        shutil.copytree(_finished(), run)
        (run / 'last_checkpoint').write_text(str(run / LAST))
        change(run)
        before = _checkpoints(run)
        message = run_tool(
            'train.py', config, '--resume', *run_options(folder, *SHORT, *options)
        )
        assert _checkpoints(run) == before
        return message

    return case


def _checkpoints(run: Path) -> dict[str, str]:
    """The checkpoints and what names the last one; mmengine renews the config's copy."""
    return {
        name: digest
        for name, digest in contents(run).items()
        if name.endswith('.pth') or name == 'last_checkpoint'
    }


def _say_two_processes(run: Path) -> None:
    checkpoint = torch.load(run / LAST)
    checkpoint['meta'][LAUNCH]['processes'] = 2
    torch.save(checkpoint, run / LAST)


def _cut_off_all(run: Path) -> None:
    for file in run.glob('*.pth'):
        file.write_bytes(file.read_bytes()[:1000])


CASES = {
    'with 1 process what 2 began': _case(change=_say_two_processes),
    'with `train_dataloader.batch_size=32`': _case('train_dataloader.batch_size=32'),
    'with `optim_wrapper.optimizer.lr=0.01`': _case('optim_wrapper.optimizer.lr=0.01'),
    'with `model.backbone.rank=4`': _case('model.backbone.rank=4'),
    'with `model.backbone.num_branches=4`': _case('model.backbone.num_branches=4'),
    'with the config of LoRA': _case(config=LORA),
    'with `randomness.seed=7`': _case('randomness.seed=7'),
    'with other backbone weights': _case('model.backbone.module.init_cfg=None'),
    'with 7 classes': _case('model.head.num_classes=7'),
    'from checkpoints that are cut off': _case(change=_cut_off_all),
}

"""Runs of one process don't know of each other."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from mmdmlora.apis.run import train
from mmdmlora.registry import HOOKS as HOOK_TYPES
from tests.peft_runner import config

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from tests.test_apis.test_several_runs import run
run(sys.argv[1], Path(sys.argv[2]))
"""
HOOKS = dict(summary=dict(type='SummaryHook'), monitor=dict(type='AdapterMonitorHook'))
KINDS = dict(
    one=dict(wrapper=dict(type='mmdmlora.DMLoRAModel', rank=2, num_branches=2)),
    other=dict(
        wrapper=dict(type='mmdmlora.LoRAModel', rank=1),
        backbone='convnext',
        randomness=dict(seed=5),
        default_scope='mmpretrain',
    ),
    iterations=dict(train_cfg=dict(by_epoch=False, max_iters=3, val_interval=3)),
)


def run(kind: str, work_dir: Path) -> dict:
    options = dict(KINDS[kind], epochs=1, hooks=HOOKS, experiment_name='same')
    cfg = config(work_dir, **options)
    if cfg.default_scope == 'mmpretrain':
        for name in ('train', 'val', 'test'):
            cfg[f'{name}_dataloader'].dataset.type = 'mmdmlora.Digits'
        for hook in (*cfg.default_hooks.values(), cfg.optim_wrapper):
            for key in {'type', 'constructor'} & {*hook}:
                if hook[key] not in ('LoggerHook',):
                    hook[key] = f'mmdmlora.{hook[key]}'
    return train(cfg)


def results(work_dir: Path) -> tuple:
    (checkpoint,) = [*work_dir.glob('epoch_*.pth'), *work_dir.glob('iter_*.pth')]
    saved = torch.load(checkpoint, weights_only=True)
    scalars = saved['message_hub']['log_scalars']
    summary = json.loads((work_dir / 'summary.json').read_text())
    summary = {k: v for k, v in summary.items() if str(work_dir) not in str(v)}
    return saved['state_dict'], str(scalars['train/loss']), summary


def assert_equal(one: tuple, other: tuple) -> None:
    assert one[1:] == other[1:]
    assert one[0].keys() == other[0].keys()
    for name, tensor in one[0].items():
        assert torch.equal(tensor, other[0][name]), name


def test_runs_in_one_process_equal_those_in_separate_ones(tmp_path):
    for number, kind in enumerate(['one', 'other', 'iterations', 'one', 'other']):
        summary = run(kind, tmp_path / f'{number}')
        assert summary == json.loads((tmp_path / f'{number}/summary.json').read_text())
    assert_equal(results(tmp_path / '0'), results(tmp_path / '3'))
    assert_equal(results(tmp_path / '1'), results(tmp_path / '4'))
    for number, kind in enumerate(KINDS):
        alone = tmp_path / kind
        command = [sys.executable, '-c', SCRIPT, kind, str(alone)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        assert_equal(results(tmp_path / f'{number}'), results(alone))


@HOOK_TYPES.register_module()
class Fails(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        raise RuntimeError('broken')


def test_a_run_after_one_that_failed(tmp_path):
    cfg = config(tmp_path / 'failed', hooks=HOOKS, custom_hooks=[dict(type='Fails')])
    with pytest.raises(RuntimeError, match='broken'):
        train(cfg)
    run('one', tmp_path / 'after')
    run('one', tmp_path / 'again')
    assert_equal(results(tmp_path / 'after'), results(tmp_path / 'again'))


def test_without_a_summary_hook_there_is_no_summary(tmp_path):
    assert train(config(tmp_path, epochs=1)) == {}


def test_settings_of_pytorch_end_with_the_run(tmp_path):
    before = torch.backends.cudnn.benchmark
    randomness = dict(seed=0, deterministic=True)
    train(config(tmp_path, epochs=1, randomness=randomness))
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic
    assert torch.backends.cudnn.benchmark == before

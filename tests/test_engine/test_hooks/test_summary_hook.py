"""What a run ends with, and what the monitor writes meanwhile."""

import json

import pytest
import torch
from mmengine.config import Config
from mmpretrain import get_model

from tests.peft_runner import runner
from tests.tiny import images

HOOKS = dict(
    pruning=dict(type='BranchPruningHook', interval=1, min_branches=2),
    scalar=dict(type='LearningScalarHook'),
    monitor=dict(type='AdapterMonitorHook'),
    summary=dict(type='SummaryHook'),
)


def test_summary_and_merged_model(tmp_path):
    run = runner(tmp_path, hooks=HOOKS)
    run.train()
    summary = json.loads((tmp_path / 'summary.json').read_text())
    model = run.model
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert summary['trained parameters'] == trained
    assert summary['active branches'] == '2 of 4'
    assert summary['scales'] == pytest.approx(model.backbone.scales())
    assert summary['checkpoint'].endswith('epoch_3.pth')
    assert 0 <= summary['test accuracy/top1'] <= 100
    stock = get_model(str(tmp_path / 'merged.py'), str(tmp_path / 'merged.pth'))
    assert type(stock.backbone).__module__.startswith('mmpretrain')
    stock.eval()
    model.eval()
    with torch.no_grad():
        difference = stock(images(), mode='tensor') - model(images(), mode='tensor')
    assert difference.abs().max() < 1e-5
    text = Config.fromfile(tmp_path / 'merged.py').pretty_text
    assert 'mmdmlora' not in text and 'DMLoRA' not in text


def test_merged_model_is_the_average_when_there_is_one(tmp_path):
    ema = dict(type='EMAHook', momentum=0.5)
    run = runner(tmp_path, hooks=HOOKS, custom_hooks=[ema])
    run.train()
    hook = next(h for h in run.hooks if type(h).__name__ == 'EMAHook')
    average = hook.ema_model.module
    average.eval()
    stock = get_model(str(tmp_path / 'merged.py'), str(tmp_path / 'merged.pth'))
    stock.eval()
    run.model.eval()
    with torch.no_grad():
        merged = stock(images(), mode='tensor')
        assert (merged - average(images(), mode='tensor')).abs().max() < 1e-5
        assert (merged - run.model(images(), mode='tensor')).abs().max() > 1e-4


def test_branches_and_scales_reach_log_and_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    visualizer = dict(type='UniversalVisualizer', vis_backends=backends)
    run = runner(tmp_path, hooks=HOOKS, visualizer=visualizer)
    run.train()
    run.visualizer.close()
    history = run.message_hub.get_scalar('train/branches').data[0]
    assert list(history) == [4, 3, 2]
    events = next(tmp_path.rglob('events.out*'))
    reader = EventAccumulator(str(events.parent))
    reader.Reload()
    tags = reader.Tags()['scalars']
    assert {'branches', 'scale'} <= set(tags)
    for name, scale in run.model.backbone.scales().items():
        points = reader.Scalars(f'scale/{name}')
        assert [p.step for p in points] == [1, 2, 3]
        assert points[-1].value == pytest.approx(scale, rel=1e-6)


def test_wrappers_without_branches_pass_the_monitor(tmp_path):
    hooks = dict(monitor=HOOKS['monitor'], summary=HOOKS['summary'])
    wrapper = dict(type='mmdmlora.LinearProbeModel')
    run = runner(tmp_path, wrapper=wrapper, hooks=hooks, epochs=1)
    run.train()
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert 'active branches' not in summary and 'scales' not in summary
    assert summary['trained parameters'] == 24 * 10 + 10


def test_without_a_test_set_nothing_is_tested(tmp_path):
    none = dict(test_dataloader=None, test_cfg=None, test_evaluator=None)
    hooks = dict(summary=dict(type='SummaryHook', merge=False))
    runner(tmp_path, epochs=1, hooks=hooks, **none).train()
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert not any(name.startswith('test') for name in summary)
    assert not (tmp_path / 'merged.pth').exists()

"""Whatever a metric is, a finished training keeps its summary and its merged model."""

import json
import math
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner

from mmdmlora.apis.run import prepare, train
from mmdmlora.engine.hooks import summary_hook
from mmdmlora.engine.metrics import plain_value
from mmdmlora.registry import METRICS
from tests.peft_runner import config

VALUES = dict(
    matrix=torch.arange(4.0).reshape(2, 2),
    half=torch.tensor(0.5, dtype=torch.bfloat16),
    single=np.float32(0.25),
    counts=np.arange(3),
    nested={'class': {1: np.float64(0.5), 'two': [torch.tensor(2)]}},
    undefined=math.nan,
    infinite=torch.tensor(math.inf),
    names={'a'},
    nothing=None,
    text='all',
)
EXPECTED = dict(
    matrix=[[0.0, 1.0], [2.0, 3.0]],
    half=0.5,
    single=0.25,
    counts=[0, 1, 2],
    nested={'class': {'1': 0.5, 'two': [2]}},
    undefined='nan',
    infinite='inf',
    names=['a'],
    nothing=None,
    text='all',
)


@METRICS.register_module()
class AnyMetric(BaseMetric):
    """Gives the values of these names."""

    def __init__(self, names) -> None:
        super().__init__()
        self.names = names

    def process(self, data_batch, data_samples) -> None:
        self.results += data_samples

    def compute_metrics(self, results) -> dict:
        if self.names is None:
            raise RuntimeError('no such class')
        return {name: ODD.get(name, VALUES.get(name)) for name in self.names}


class Odd:
    def __str__(self) -> str:
        return 'odd'


ODD = dict(sparse=torch.eye(2).to_sparse(), keys={('a', 'b'): 1}, object=Odd())


def experiment(work_dir, names, **options):
    cfg = config(
        work_dir, epochs=1, hooks=dict(summary=dict(type='SummaryHook')), **options
    )
    cfg.test_evaluator = dict(type='AnyMetric', names=names)
    return cfg


def test_values_have_a_plain_form():
    assert {name: plain_value(value) for name, value in VALUES.items()} == EXPECTED
    odd = dict(sparse=[[1.0, 0.0], [0.0, 1.0]], keys={"('a', 'b')": 1}, object='odd')
    assert {name: plain_value(value) for name, value in ODD.items()} == odd
    for value in (np.longdouble(1), 1j, torch.tensor([1j]), b'x', np.datetime64('2020')):
        json.dumps(plain_value(value), allow_nan=False)


def test_any_metric_is_in_the_summary(tmp_path):
    cfg = experiment(tmp_path, list(VALUES))
    summary = train(cfg)
    text = (tmp_path / 'summary.json').read_text()
    assert json.loads(text, parse_constant=pytest.fail) == summary
    assert {n: summary[f'test {n}'] for n in VALUES} == EXPECTED
    assert Path(summary['merged model']).is_file()


@pytest.mark.parametrize('name', ODD)
def test_metrics_that_the_log_cannot_take(tmp_path, name):
    """mmengine's logger fails on some: that is said, and nothing is lost."""
    failure = ''
    try:
        train(experiment(tmp_path, [name, 'single']))
    except (TypeError, NotImplementedError, RuntimeError) as error:
        failure = f'failed: {type(error).__name__}: {error}'
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert bool(failure) == ('test' in summary)
    assert failure.startswith(summary.get('test', ''))
    assert summary[f'test {name}'] == plain_value(ODD[name])
    assert summary['test single'] == 0.25
    assert Path(summary['merged model']).is_file()


def test_a_test_that_fails_costs_nothing_else(tmp_path):
    with pytest.raises(RuntimeError, match='no such class'):
        train(experiment(tmp_path, None))
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['test'] == 'failed: RuntimeError: no such class'
    assert Path(summary['merged model']).is_file()


@pytest.mark.parametrize(
    'error', [ValueError('no form'), TypeError('x'), OSError('full')]
)
def test_a_merge_that_fails_costs_nothing_else(tmp_path, error):
    with mock.patch.object(summary_hook, 'save_merged', side_effect=error):
        summary = train(experiment(tmp_path, ['single']))
    assert summary['test single'] == 0.25
    assert summary['merged model'].startswith('none: ')
    assert str(error) in summary['merged model']


def test_metrics_of_validations_are_kept_by_checkpoints(tmp_path):
    """They go into the checkpoint with mmengine's message hub."""
    names = [n for n in VALUES if n != 'names']
    cfg = experiment(tmp_path, names)
    cfg.train_cfg.max_epochs = 2
    cfg.val_evaluator = dict(type='AnyMetric', names=names)
    cfg.default_hooks.checkpoint.save_best = 'single'
    train(cfg)
    state = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    assert 'val/matrix' in state['message_hub']['runtime_info']
    cfg.train_cfg.max_epochs = 3
    cfg.resume = True
    Runner.from_cfg(prepare(cfg)).train()
    assert (tmp_path / 'epoch_3.pth').is_file()

"""Validation and test compute with folded weights, also averaged ones."""

import copy

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdmlora.apis.compose import load_config
from mmdmlora.apis.locations import config_root
from mmdmlora.apis.run import _named_apart, prepare
from mmdmlora.models.merging import merge_model


class Watch(Hook):
    """What the model gives in evaluation, and what its merged copy gives."""

    priority = 'LOWEST'

    def __init__(self):
        self.pairs, self.folded, self.trained_folded = [], [], []

    def _is_folded(self, runner):
        layers = runner.model.backbone._inserted_layers()
        return {layer.folded is not None for _, layer in layers}

    def _before_iter(self, runner, batch_idx, data_batch=None, mode='train'):
        if mode == 'train':
            self.trained_folded.append(self._is_folded(runner))
            return
        self.folded.append((mode, self._is_folded(runner)))
        if batch_idx == 0 and self._is_folded(runner) == {True}:
            model = runner.model
            x = model.data_preprocessor(data_batch)['inputs']
            with torch.no_grad():
                merged = merge_model(model)
                self.pairs.append((model(x), merged(x), x))


def run(work_dir, method='dmlora', **changes):
    config = prepare(load_config(config_root() / f'{method}/vit-tiny_digits.py'))
    config.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'train_cfg.max_epochs': 2,
            'train_cfg.val_interval': 1,
            'param_scheduler': [],
            **changes,
        }
    )
    for name in ('branch_pruning', 'learning_scalar'):
        config.default_hooks.pop(name, None)
    runner = Runner.from_cfg(_named_apart(config))
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    return runner, watch


@pytest.mark.parametrize('averages', [False, True])
def test_evaluation_equals_the_merged_model(tmp_path, averages):
    ema = dict(type='EMAHook', momentum=0.5)
    runner, watch = run(tmp_path, custom_hooks=[ema] * averages)
    modes = {mode for mode, _ in watch.folded}
    assert modes == {'val', 'test'}
    assert all(state == {True} for _, state in watch.folded)
    assert all(state == {False} for state in watch.trained_folded)
    assert len(watch.pairs) == 3
    for got, expected, _ in watch.pairs:
        assert torch.equal(got, expected)
    if averages:
        hook = next(h for h in runner.hooks if hasattr(h, 'ema_model'))
        averaged = copy.deepcopy(hook.ema_model.module).eval()
        got, _, x = watch.pairs[-1]
        with torch.no_grad():
            torch.testing.assert_close(got, averaged(x), atol=1e-4, rtol=1e-4)


def test_a_method_that_cannot_be_merged_is_evaluated_as_it_is(tmp_path):
    runner, watch = run(tmp_path, 'adapter')
    assert all(state == {False} for _, state in watch.folded)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert log.count('Evaluating without merging: AdapterModel has no merged') == 1

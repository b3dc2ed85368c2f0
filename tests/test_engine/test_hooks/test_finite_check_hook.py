"""NaN in the loss, the weights, the average: training ends and nothing bad is saved."""

import atexit
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdmlora.engine import FiniteCheckHook, prepare_distributed
from tests.test_engine.toy_runner import toy_config, toy_runner

CHECK = dict(type='mmdmlora.FiniteCheckHook')
STEPS = 3  # in each epoch of the toy
ROOT = Path(__file__).parents[3]
MODULE = 'tests.test_engine.test_hooks.test_finite_check_hook'


class SpoilHook(Hook):
    """Spoil what the step of a number (from 1) sees or leaves."""

    priority = 'VERY_HIGH'

    def __init__(self, step, value=float('nan'), weights=False, rank=None):
        self.step, self.value, self.weights, self.rank = step, value, weights, rank

    def _is_due(self, runner):
        return runner.iter + 1 == self.step and self.rank in (None, runner.rank)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self._is_due(runner) and not self.weights:
            data_batch['inputs'].fill_(self.value)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self._is_due(runner) and self.weights:
            runner.model.layers[0].bias.data[1] = self.value


def failure(run, *spoilers):
    for spoiler in spoilers:
        run.register_hook(spoiler)
    with pytest.raises(ValueError) as error:
        run.train()
    return str(error.value)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_first_loss_that_is_not_finite_ends_the_training(tmp_path, value):
    run = toy_runner(tmp_path, hooks=[CHECK], max_epochs=3)
    text = failure(run, SpoilHook(STEPS + 2, value))
    assert run.iter == STEPS + 1
    assert text.startswith('the loss is nan in iteration 5 (epoch 2), at a learning rate')
    assert 'rate of 0.01.' in text
    assert f'last good checkpoint is kept: {tmp_path}/epoch_1.pth. Lower the' in text
    assert not (tmp_path / 'epoch_2.pth').exists()


@pytest.mark.parametrize('loss', [float('inf'), float('-inf')])
def test_infinite_loss(tmp_path, loss):
    run = toy_runner(tmp_path, hooks=[CHECK])
    run.train()
    run.message_hub.update_scalar('train/loss', loss)
    hook = next(hook for hook in run.hooks if isinstance(hook, FiniteCheckHook))
    with pytest.raises(ValueError, match=f'the loss is {loss} in iteration'):
        hook.after_train_iter(run, 0)


def test_before_the_first_checkpoint(tmp_path):
    text = failure(toy_runner(tmp_path, hooks=[CHECK]), SpoilHook(1))
    assert 'in iteration 1 (epoch 1)' in text and 'There is no checkpoint yet' in text
    assert not list(tmp_path.glob('*.pth'))


def test_weights_spoilt_by_the_last_step_of_an_epoch(tmp_path):
    run = toy_runner(tmp_path, hooks=[CHECK])
    text = failure(run, SpoilHook(2 * STEPS, weights=True))
    assert text.startswith('layers.0.bias is not finite at the end of epoch 2, at a')
    assert {p.name for p in tmp_path.glob('epoch*')} == {'epoch_1.pth'}
    state = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict']
    assert all(tensor.isfinite().all() for tensor in state.values())


@pytest.mark.parametrize('value', [float('nan'), float('-inf')])
def test_bad_weights_are_never_saved(tmp_path, value):
    run = toy_runner(tmp_path, hooks=[CHECK])
    run.train()
    kept = (tmp_path / 'epoch_2.pth').read_bytes()
    run.model.layers[3].weight.data[0, 0] = value
    message = 'layers.3.weight is not finite.*nothing is saved.*epoch_2.pth'
    with pytest.raises(ValueError, match=message):
        run.save_checkpoint(str(tmp_path), 'epoch_2.pth')
    assert (tmp_path / 'epoch_2.pth').read_bytes() == kept


def test_average_is_looked_at(tmp_path):
    run = toy_runner(tmp_path, hooks=[CHECK, dict(type='EMAHook')])
    run.train()
    ema = next(hook.ema_model for hook in run.hooks if hasattr(hook, 'ema_model'))
    ema.module.layers[0].weight.data[0, 0] = float('nan')
    with pytest.raises(ValueError, match='layers.0.weight is not finite'):
        run.save_checkpoint(str(tmp_path), 'epoch_3.pth')
    ema.module.layers[0].weight.data[0, 0] = 0
    run.model.layers[0].bias.data[0] = float('nan')
    with pytest.raises(ValueError, match='layers.0.bias is not finite'):
        run.save_checkpoint(str(tmp_path), 'epoch_3.pth')
    assert not (tmp_path / 'epoch_3.pth').exists()


def test_masks_of_infinity_are_no_fault(tmp_path):
    run = toy_runner(tmp_path, hooks=[CHECK])
    run.model.register_buffer('mask', torch.tensor([0, float('-inf')]))
    run.train()
    assert (tmp_path / 'epoch_2.pth').is_file()


def test_nothing_is_read_from_the_model_in_a_good_step(tmp_path):
    run = toy_runner(tmp_path, hooks=[CHECK])
    run.train()
    hook = next(hook for hook in run.hooks if isinstance(hook, FiniteCheckHook))
    with mock.patch.object(torch.Tensor, 'isfinite', side_effect=AssertionError):
        outputs = mock.MagicMock()
        hook.after_train_iter(run, 0, {}, outputs)
        assert not outputs.mock_calls


@pytest.mark.parametrize(
    'step, other',
    [
        (1, 'the loss is nan in iteration 2 (epoch 1)'),
        (2, 'layers.0.weight is not finite at the end of epoch 1'),
    ],
)
def test_all_processes_end(tmp_path, step, other):
    """One process sees the loss, the other one what came of it."""
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    result = subprocess.run(
        [*command, '--nproc_per_node=2', '-m', MODULE, str(tmp_path), str(step)],
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    one, two = ((tmp_path / f'rank_{rank}').read_text() for rank in (0, 1))
    assert (tmp_path / 'threads').read_text().split() == ['0', '0']
    assert one.startswith(other)
    assert two.startswith(f'the loss is nan in iteration {step} (epoch 1)')


def count_gloo_threads(out: Path) -> None:
    """Note how many are left: one that outlives the interpreter may abort the process."""
    names = [(task / 'comm').read_text() for task in Path('/proc/self/task').glob('*')]
    with out.open('a') as stream:
        stream.write(f'{sum("gloo" in name for name in names)}\n')


def train_one_rank(out: Path, step: int) -> None:
    """Train as one of two processes; the second one's data is spoilt once."""
    atexit.register(count_gloo_threads, out / 'threads')  # called last
    cfg = toy_config(out, hooks=[CHECK], launcher='pytorch', default_hooks={})
    prepare_distributed(cfg)
    run = Runner.from_cfg(cfg)
    text = failure(run, SpoilHook(step, rank=1))
    (out / f'rank_{run.rank}').write_text(text)


if __name__ == '__main__':
    train_one_rank(Path(sys.argv[1]), int(sys.argv[2]))

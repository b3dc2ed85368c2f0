"""Training in bfloat16 on a CPU."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdmlora.apis.run import prepare
from mmdmlora.engine.bfloat16_optim_wrapper import training_autocast
from tests.peft_runner import DMLORA, config


class Look(Hook):
    """Notes the types of a layer's outputs in training and in evaluation."""

    def before_run(self, runner: Runner) -> None:
        self.seen: set[tuple[bool, torch.dtype]] = set()
        backbone = runner.model.backbone
        layer = backbone.module.get_submodule('layers.0.attn.proj')
        layer.register_forward_hook(
            lambda module, args, out: self.seen.add((module.training, out.dtype))
        )


def train(work_dir, epochs: int = 2, **options) -> tuple[Runner, Look]:
    cfg = config(work_dir, wrapper=DMLORA, epochs=epochs, **options)
    cfg.optim_wrapper.type = 'mmdmlora.BFloat16OptimWrapper'
    runner, look = Runner.from_cfg(prepare(cfg)), Look()
    runner.register_hook(look)
    runner.train()
    return runner, look


def test_forwards_of_training_alone_are_in_bfloat16(tmp_path):
    runner, look = train(tmp_path)
    assert look.seen == {(True, torch.bfloat16), (False, torch.float32)}
    assert {p.dtype for p in runner.model.parameters()} == {torch.float32}
    states = runner.optim_wrapper.optimizer.state.values()
    assert {s['exp_avg'].dtype for s in states} == {torch.float32}


def test_it_learns_as_in_single_precision(tmp_path):
    losses = []
    for name, kind in (
        ('half', 'mmdmlora.BFloat16OptimWrapper'),
        ('full', 'OptimWrapper'),
    ):
        cfg = config(tmp_path / name, wrapper=DMLORA, epochs=3)
        cfg.optim_wrapper.type = kind
        runner = Runner.from_cfg(prepare(cfg))
        runner.train()
        losses.append(runner.message_hub.get_scalar('train/loss').data[0])
    assert losses[0] == pytest.approx(losses[1], rel=0.03)
    assert not (losses[0] == losses[1]).all()


def test_a_resumed_run_is_equal(tmp_path):
    whole, _ = train(tmp_path / 'whole', epochs=4)
    cfg = config(tmp_path / 'cut', wrapper=DMLORA, epochs=4)
    cfg.optim_wrapper.type = 'mmdmlora.BFloat16OptimWrapper'

    class Cut(Hook):
        priority = 'LOWEST'

        def after_train_epoch(self, runner: Runner) -> None:
            if runner.epoch == 1:
                raise KeyboardInterrupt

    runner = Runner.from_cfg(prepare(cfg))
    runner.register_hook(Cut(), 'LOWEST')
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    again, _ = train(tmp_path / 'cut', epochs=4, resume=True)
    state = whole.model.state_dict()
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_other_devices_have_plain_autocast():
    model = torch.nn.Linear(1, 1)
    with training_autocast('cuda', model):
        assert torch.overrides._len_torch_function_stack() == 0
    with training_autocast('cpu', model):
        assert torch.overrides._len_torch_function_stack() == 1

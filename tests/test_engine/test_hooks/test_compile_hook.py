"""Compiled training through a real Runner."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from torch._dynamo.utils import counters

from mmdmlora.apis import run as api
from mmdmlora.engine import compiling
from mmdmlora.engine.compiling import check_compiler, prepare_compile
from mmdmlora.models.peft_model import find_wrappers
from tests.peft_runner import DMLORA, config, runner

# Traces and differentiates as the default does, but makes no code.
FAST = dict(backend='aot_eager')
PRUNING = dict(pruning=dict(type='BranchPruningHook', interval=2, min_branches=3))


class Graphs(Hook):
    """Counts the compiled graphs up to the end of each epoch."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def after_train_epoch(self, runner: Runner) -> None:
        self.counts.append(counters['stats']['unique_graphs'])


class FirstEpoch(Hook):
    """Counts from the first step: before it the hook tries the compiler."""

    def before_train_epoch(self, runner: Runner) -> None:
        if runner.epoch == 0:
            counters.clear()


class Cut(Hook):
    priority = 'LOWEST'

    def after_train_epoch(self, runner: Runner) -> None:
        if runner.epoch == 1:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def made(cfg: Config, *hooks: Hook) -> Runner:
    result = Runner.from_cfg(api.prepare(cfg))
    for hook in (FirstEpoch(), *hooks):
        result.register_hook(hook, hook.priority)
    return result


def train(work_dir: Path, *hooks: Hook, compile: object = FAST, **options) -> Runner:
    result = made(config(work_dir, compile=compile, **options), *hooks)
    result.train()
    return result


def check_same_state(one: Runner, other: Runner) -> None:
    state = other.model.state_dict()
    assert one.model.state_dict().keys() == state.keys()
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize(
    'backbone, draws',
    [('vit', 'sample'), ('swin', 'batch')],
)
def test_one_graph_and_one_more_after_a_pruning(backbone, draws, tmp_path):
    graphs = Graphs()
    wrapper = dict(DMLORA, draws=draws, learn_scale=False)
    train(tmp_path, graphs, backbone=backbone, wrapper=wrapper, epochs=4, hooks=PRUNING)
    assert graphs.counts[:2] == [1, 1]
    assert graphs.counts[2] == graphs.counts[3] <= 2
    assert not counters['graph_break']


@pytest.mark.parametrize(
    'wrapper',
    [
        DMLORA,
        dict(type='mmdmlora.LoRAModel', rank=2, frozen_dtype='bfloat16'),
        dict(type='mmdmlora.VPTModel', num_tokens=2),
    ],
    ids=['dmlora', 'lora in bfloat16', 'vpt'],
)
def test_it_computes_what_it_computes_eagerly(wrapper, tmp_path):
    compiled = train(tmp_path / 'compiled', wrapper=wrapper, epochs=2)
    assert counters['stats']['unique_graphs'] == 1
    eager = train(tmp_path / 'eager', wrapper=wrapper, compile=None, epochs=2)
    assert not counters['stats']
    assert compiled.model.state_dict().keys() == eager.model.state_dict().keys()
    for log in ('train/loss', 'val/accuracy/top1'):
        got, expected = (r.message_hub.get_scalar(log).data[0] for r in (compiled, eager))
        assert got == pytest.approx(expected, rel=2e-3)


def test_under_bfloat16_autocast(tmp_path):
    graphs = Graphs()
    cfg = config(tmp_path, compile=FAST, epochs=2)
    cfg.optim_wrapper.type = 'mmdmlora.BFloat16OptimWrapper'
    made(cfg, graphs).train()
    assert graphs.counts == [1, 1]
    assert not counters['graph_break']


def check_resumes_exactly(tmp_path, **options):
    whole = train(tmp_path / 'whole', **options)
    torch._dynamo.reset()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / 'cut', Cut(), **options)
    torch._dynamo.reset()
    check_same_state(train(tmp_path / 'cut', resume=True, **options), whole)


def test_a_resumed_run_is_equal(tmp_path):
    check_resumes_exactly(tmp_path, epochs=4, hooks=PRUNING)


def test_checkpoints_load_without_compilation(tmp_path):
    train(tmp_path, epochs=1)
    eager = runner(tmp_path, epochs=2, resume=True)
    eager.train()
    assert eager.epoch == 2


def test_last_batches_of_another_size(tmp_path):
    """Each size is compiled once."""
    graphs = Graphs()
    cfg = config(tmp_path, compile=FAST, epochs=3)
    loader = cfg.train_dataloader
    loader.pop('num_batch_per_epoch')
    loader.dataset.indices = 20
    made(cfg, graphs).train()
    assert graphs.counts == [2, 2, 2]


def test_copies_and_evaluation_are_not_compiled(tmp_path):
    ema = [dict(type='EMAHook', ema_type='ExponentialMovingAverage')]
    trained = train(tmp_path, epochs=1, custom_hooks=ema)
    (wrapper,) = find_wrappers(trained.model)
    assert wrapper._compiled is not None
    (hook,) = (hook for hook in trained.hooks if isinstance(hook, EMAHook))
    (average,) = find_wrappers(hook.ema_model)
    assert average._compiled is None
    assert counters['stats']['unique_graphs'] == 1


def test_a_model_without_a_wrapper(tmp_path):
    cfg = config(tmp_path, compile=FAST, epochs=1)
    cfg.model.backbone = cfg.model.backbone.module
    cfg.optim_wrapper.pop('constructor')
    made(cfg).train()
    assert counters['stats']['unique_graphs'] >= 1


@pytest.mark.parametrize('value', [None, False])
def test_off(value):
    cfg = Config(dict(compile=value))
    prepare_compile(cfg)
    assert cfg.to_dict() == {}


@pytest.mark.parametrize('value', ['yes', 1, ['inductor'], 'inductor'])
def test_a_wrong_value_is_refused(value, tmp_path):
    cfg = config(tmp_path, compile=value)
    with pytest.raises(ValueError, match='is neither True nor False nor a dict'):
        api.prepare(cfg)


@pytest.mark.parametrize(
    'options', [dict(backend='nothing'), dict(mode='fastest'), dict(speed=2)]
)
def test_wrong_options_are_refused(options, tmp_path):
    with pytest.raises(ValueError, match='torch.compile does not work here'):
        train(tmp_path, compile=options)


def test_without_a_compiler(tmp_path, monkeypatch):
    def compile(function, **options):
        raise RuntimeError('no compiler\nwas found')

    monkeypatch.setattr(compiling.torch, 'compile', compile)
    with pytest.raises(ValueError, match=r'not work here \(no compiler\)'):
        check_compiler('cpu')
    with pytest.raises(ValueError, match='compile=False'):
        train(tmp_path, compile=True)


def test_a_test_compiles_nothing(tmp_path):
    cfg = config(tmp_path, compile=dict(backend='nothing'))
    prepared = api.prepare_test(cfg, 'some.pth')
    assert 'compile' not in prepared and 'compile' not in prepared.default_hooks


@pytest.mark.slow
def test_a_resumed_run_is_equal_with_the_default_backend(tmp_path):
    sample = dict(DMLORA, draws='sample')
    check_resumes_exactly(tmp_path, compile=True, epochs=3, wrapper=sample)

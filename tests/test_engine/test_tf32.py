"""TF32 as a setting of a run."""

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmdmlora import cli
from mmdmlora.apis import run as api
from mmdmlora.cli import train as command
from mmdmlora.engine import tf32 as module
from mmdmlora.engine.tf32 import check_tf32, tf32, use_tf32
from tests.peft_runner import config


def state() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(module, 'has_tf32', lambda: True)


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(module, 'print_log', lambda text, **options: lines.append(text))
    return lines


@pytest.mark.parametrize('before', [('highest', False), ('medium', True)])
def test_it_ends_with_the_run(before, gpu):
    stock = state()
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]
    try:
        with pytest.raises(KeyboardInterrupt), tf32(Config(dict(env_cfg={}))):
            assert state() == before
            raise KeyboardInterrupt
        cfg = Config({})
        use_tf32(cfg)
        with pytest.raises(KeyboardInterrupt), tf32(cfg):
            assert state() == ('high', True)
            raise KeyboardInterrupt
        assert state() == before
    finally:
        torch.set_float32_matmul_precision(stock[0])
        torch.backends.cudnn.allow_tf32 = stock[1]


def test_it_holds_while_training_and_testing(tmp_path, gpu, monkeypatch):
    seen = []
    monkeypatch.setattr(Runner, 'train', lambda runner: seen.append(state()))
    monkeypatch.setattr(Runner, 'test', lambda runner: seen.append(state()))
    monkeypatch.setattr(api, 'check_complete', lambda model, checkpoint: {})
    cfg = config(tmp_path, env_cfg=dict(allow_tf32=True))
    before = state()
    api.train(cfg)
    api.test(cfg, 'some.pth')
    assert [precision for precision, _ in seen] == ['high', 'high']
    assert state() == before


def test_without_a_gpu_the_log_says_that_it_does_nothing(monkeypatch, log):
    monkeypatch.setattr(module, 'has_tf32', lambda: False)
    before = state()
    with tf32(Config(dict(env_cfg=dict(allow_tf32=True)))):
        assert state() == before
    assert len(log) == 1 and 'has no effect here' in log[0]
    with tf32(Config(dict(env_cfg=dict(allow_tf32=False)))):
        pass
    assert len(log) == 1


@pytest.mark.parametrize('capability, expected', [((7, 5), False), ((8, 0), True)])
def test_older_gpus_lack_it(capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: capability)
    assert module.has_tf32() is expected


@pytest.mark.parametrize('value', ['yes', 1, None, 'high'])
def test_a_wrong_value_is_refused(value, tmp_path):
    cfg = config(tmp_path, env_cfg=dict(allow_tf32=value))
    with pytest.raises(ValueError, match=f'env_cfg.allow_tf32={value!r} is neither'):
        api.prepare(cfg)
    check_tf32(Config(dict(env_cfg=None)))


@pytest.mark.parametrize(
    'flags', [[], ['--tf32'], ['--compile'], ['--tf32', '--compile']]
)
def test_flags(flags, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(command, 'train', seen.append)
    cli.main(
        ['train', 'lora/vit-tiny_digits', '--work-dir', str(tmp_path / 'run'), *flags]
    )
    assert seen[0].env_cfg.allow_tf32 is ('--tf32' in flags)
    assert bool(seen[0].get('compile')) is ('--compile' in flags)

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import distributed

import mmdmlora
from mmdmlora.engine import (
    check_amp,
    drop_invalid_worker_options,
    launch,
    prepare_distributed,
    use_amp,
)
from mmdmlora.engine.launch import WORLD_SIZES
from tests.test_engine.toy_runner import NUM_SAMPLES, added_noise

SCRIPT = Path(__file__).with_name('toy_runner.py')


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    """What two processes under torchrun, without a GPU, saved after training."""
    out = tmp_path_factory.mktemp('gloo')
    environment = {
        **os.environ,
        'CUDA_VISIBLE_DEVICES': '',
        'PYTHONPATH': str(Path(mmdmlora.__file__).parents[1]),
    }
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
    result = subprocess.run(
        [sys.executable, *torchrun, str(SCRIPT), str(out)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=80,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return [torch.load(out / f'rank_{i}.pth', weights_only=True) for i in range(2)]


def test_two_gloo_processes_end_with_equal_weights(ranks):
    first, second = (rank['state_dict'] for rank in ranks)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_two_gloo_processes_share_the_data(ranks):
    for first, second in zip(ranks[0]['seen'], ranks[1]['seen'], strict=True):
        assert not torch.equal(first, second)
    assert [sum(map(len, rank['seen'])) for rank in ranks] == [NUM_SAMPLES] * 2


def test_two_gloo_processes_augment_differently(ranks):
    first, second = (added_noise(rank['seen']) for rank in ranks)
    assert (first - second).abs().min() > 1e-4


def test_validation_gathers_every_sample(ranks):
    assert ranks[0]['count'] == NUM_SAMPLES


def test_the_wrapper_has_default_settings(ranks):
    assert {rank['wrapper'] for rank in ranks} == {'MMDistributedDataParallel'}
    assert not any(rank['find_unused_parameters'] for rank in ranks)


@pytest.fixture
def calls(monkeypatch):
    """Pretend that no GPU is there, and record what would start the process group."""
    started = []
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(
        distributed,
        'init_process_group',
        lambda backend, timeout: started.append((backend, timeout)),
    )
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(name, 'x')
        monkeypatch.delenv(name)
    return started


def torchrun_environment(monkeypatch) -> None:
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(name, '1')


def test_slurm_ranks_come_from_its_variables(calls, monkeypatch, tmp_path):
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\n[ "$3" = "n[7-8]" ] && printf "n7\\nn8\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv('SLURM_PROCID', '5')
    monkeypatch.setenv('SLURM_NTASKS', '8')
    monkeypatch.setenv('SLURM_LOCALID', '1')
    monkeypatch.setenv('SLURM_NODELIST', 'n[7-8]')
    prepare_distributed(Config({'launcher': 'slurm'}))
    names = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
    assert [os.environ[name] for name in names] == ['5', '8', '1', 'n7', '29500']
    assert calls == [('gloo', None)]


def test_the_timeout_of_the_config_counts(calls, monkeypatch):
    torchrun_environment(monkeypatch)
    cfg = {'launcher': 'pytorch', 'env_cfg': {'dist_cfg': {'timeout': 90}}}
    prepare_distributed(Config(cfg))
    ((backend, timeout),) = calls
    assert (backend, timeout.total_seconds()) == ('gloo', 90)


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (
            {'find_unused_parameters': True},
            {
                'type': 'MMDistributedDataParallel',
                'broadcast_buffers': False,
                'find_unused_parameters': True,
                'device_ids': None,
            },
        ),
        (
            {'model_wrapper_cfg': {'static_graph': True}},
            {'static_graph': True, 'device_ids': None},
        ),
        ({'model_wrapper_cfg': {'type': 'a.Mine'}}, {'type': 'a.Mine'}),
    ],
)
def test_what_the_user_gave_stays(given, expected, calls, monkeypatch):
    torchrun_environment(monkeypatch)
    cfg = Config({'launcher': 'pytorch', **given})
    prepare_distributed(cfg)
    assert cfg.model_wrapper_cfg == expected


@pytest.mark.parametrize(
    ('launcher', 'device'), [('none', 'cpu'), ('pytorch', 'cuda'), ('slurm', 'npu')]
)
def test_nothing_changes_with_a_gpu_or_one_process(launcher, device, calls, monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: device)
    cfg = Config({'launcher': launcher})
    prepare_distributed(cfg)
    assert cfg.to_dict() == {'launcher': launcher}
    assert calls == []


@pytest.mark.parametrize(
    ('variable', 'launcher'),
    [
        ('WORLD_SIZE', 'pytorch'),
        ('SLURM_STEP_NUM_TASKS', 'slurm'),
        ('OMPI_COMM_WORLD_SIZE', 'mpi'),
    ],
)
def test_processes_without_a_launcher_are_refused(variable, launcher, calls, monkeypatch):
    for name in WORLD_SIZES.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('SLURM_NTASKS', '8')
    prepare_distributed(Config({}))
    monkeypatch.setenv(variable, '1')
    prepare_distributed(Config({}))
    monkeypatch.setenv(variable, '2')
    with pytest.raises(ValueError, match=f'^{variable}=2 .*--launcher {launcher};'):
        prepare_distributed(Config({}))


@pytest.mark.parametrize(
    ('launcher', 'message'),
    [('pytorch', 'torchrun'), ('mpi', 'OMPI_COMM_WORLD_RANK'), ('ssh', 'Unknown')],
)
def test_a_wrong_launcher_is_a_clear_error(launcher, message, calls):
    with pytest.raises(ValueError, match=message):
        prepare_distributed(Config({'launcher': launcher}))


def test_worker_options_go_only_where_no_workers_are():
    options = {'persistent_workers': True, 'prefetch_factor': 4}
    cfg = Config(
        {
            'train_dataloader': {'num_workers': 2, **options},
            'val_dataloader': {'num_workers': 0, 'batch_size': 3, **options},
            'test_dataloader': options,
        }
    )
    drop_invalid_worker_options(cfg)
    assert cfg.train_dataloader == {'num_workers': 2, **options}
    assert cfg.val_dataloader == {'num_workers': 0, 'batch_size': 3}
    assert cfg.test_dataloader == {}
    drop_invalid_worker_options(Config({'train_dataloader': None}))


@pytest.mark.parametrize('kind', ['AmpOptimWrapper', 'mmengine.AmpOptimWrapper'])
def test_mixed_precision_needs_a_gpu(kind, monkeypatch):
    cfg = Config({'optim_wrapper': {'type': kind}})
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    with pytest.raises(ValueError, match='CUDA_VISIBLE_DEVICES'):
        check_amp(cfg)
    check_amp(Config({'optim_wrapper': {'type': 'OptimWrapper'}}))
    check_amp(Config({}))
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    check_amp(cfg)


@pytest.mark.parametrize(
    'dtype, on_cpu, on_gpu',
    [
        (None, 'mmdmlora.BFloat16OptimWrapper', 'AmpOptimWrapper'),
        ('bfloat16', 'mmdmlora.BFloat16OptimWrapper', 'mmdmlora.BFloat16OptimWrapper'),
        ('float16', 'AmpOptimWrapper', 'AmpOptimWrapper'),
    ],
)
def test_mixed_precision_fits_the_device(dtype, on_cpu, on_gpu, monkeypatch):
    for device, expected in dict(cpu=on_cpu, cuda=on_gpu).items():
        monkeypatch.setattr(launch, 'get_device', lambda device=device: device)
        cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
        use_amp(cfg, dtype)
        assert cfg.optim_wrapper.type == expected
        assert ('loss_scale' in cfg.optim_wrapper) == (expected == 'AmpOptimWrapper')


@pytest.mark.parametrize('is_fast', [True, False])
def test_slow_bfloat16_is_said(is_fast, monkeypatch):
    said = []
    monkeypatch.setattr(launch, 'has_fast_bfloat16', lambda: is_fast)
    monkeypatch.setattr(launch, 'print_log', lambda text, **options: said.append(text))
    check_amp(Config(dict(optim_wrapper=dict(type='mmdmlora.BFloat16OptimWrapper'))))
    assert len(said) == (not is_fast)

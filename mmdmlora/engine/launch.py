"""What a config needs before mmengine's Runner is built from it on a current PyTorch.

mmengine 0.10.7 assumes a GPU as soon as there is a launcher, passes worker options that
PyTorch rejects without workers, and fails on mixed precision without a GPU by a bare
assertion. Each function mends one of the three in the config.
"""

import atexit
import gc
import logging
import os
import subprocess
from datetime import timedelta

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from torch import distributed

from .bfloat16_optim_wrapper import has_fast_bfloat16
from .type_name import type_name

WORKER_OPTIONS = ('persistent_workers', 'prefetch_factor')
DDP = 'MMDistributedDataParallel'

# Where a launcher that isn't torchrun says (rank, world size, local rank).
RANK_VARIABLES = {
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': (
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
    ),
}
TORCH_VARIABLES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')
# Where each launcher tells its processes their number; Slurm's SLURM_NTASKS is also set
# in the shell of an allocation, which is one process.
WORLD_SIZES = {
    'pytorch': 'WORLD_SIZE',
    'slurm': 'SLURM_STEP_NUM_TASKS',
    'mpi': 'OMPI_COMM_WORLD_SIZE',
}


def _without_gpu() -> bool:
    return get_device() in ('cpu', 'mps')


def _export_torch_variables(launcher: str) -> None:
    """Fill in the environment variables that ``init_process_group`` reads."""
    names = RANK_VARIABLES.get(launcher, TORCH_VARIABLES)
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise ValueError(
            f'launcher={launcher!r} needs the environment variables {missing}: start '
            'with torchrun (launcher pytorch), srun (slurm) or mpirun (mpi), or use '
            "launcher='none' for one process."
        )
    for torch_name, name in zip(TORCH_VARIABLES, names, strict=True):
        os.environ[torch_name] = os.environ[name]
    os.environ.setdefault('MASTER_PORT', '29500')
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        hosts = subprocess.run(
            ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        os.environ['MASTER_ADDR'] = hosts[0]
    if 'MASTER_ADDR' not in os.environ:
        raise ValueError(
            f'launcher={launcher!r} needs the environment variable MASTER_ADDR: set it '
            'to the host of rank 0.'
        )


def _check_single_process() -> None:
    """Refuse several processes that know nothing of each other."""
    for launcher, variable in WORLD_SIZES.items():
        size = os.environ.get(variable, '1')
        if size.isdecimal() and int(size) > 1:
            raise ValueError(
                f'{variable}={size} says that this is one of {size} processes, but '
                "launcher='none' makes each train alone and write into the same folder. "
                f'Add --launcher {launcher}; for a run of one process, unset {variable}.'
            )


def prepare_distributed(cfg: Config) -> None:
    """Make a distributed run of a config work.

    Where the model leaves trained parameters out of some steps, it is wrapped with
    ``find_unused_parameters=True``, unless the config says otherwise. Where no GPU is,
    the process group is started with the backend gloo, which the Runner then finds and
    uses, and the model is wrapped without device ids.

    Args:
        cfg (Config): The config of the run; ``cfg.launcher`` counts. Without a GPU its
            ``model_wrapper_cfg`` is set, or where the user gave one for
            ``MMDistributedDataParallel``, gets ``device_ids=None``.

    Raises:
        ValueError: If the launcher is unknown or its environment variables are missing,
            or if there is none and the environment says that there are several
            processes.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none':
        _check_single_process()
        return
    if _leaves_parameters_out(cfg.get('model')):
        cfg.setdefault('find_unused_parameters', True)
        if cfg.get('model_wrapper_cfg') is not None:
            cfg.model_wrapper_cfg.setdefault('find_unused_parameters', True)
    if not _without_gpu():
        return
    if launcher not in ('pytorch', *RANK_VARIABLES):
        raise ValueError(
            f'Unknown launcher {launcher!r}: use none, pytorch, slurm or mpi.'
        )
    if not distributed.is_initialized():
        _export_torch_variables(launcher)
        seconds = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
        timeout = None if seconds is None else timedelta(seconds=seconds)
        distributed.init_process_group('gloo', timeout=timeout)
        atexit.register(_leave_process_group)
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = {'type': DDP, 'broadcast_buffers': False}
        if 'find_unused_parameters' in cfg:
            cfg.model_wrapper_cfg.find_unused_parameters = cfg.find_unused_parameters
    if type_name(cfg.model_wrapper_cfg, DDP) == DDP:
        cfg.model_wrapper_cfg.setdefault('device_ids', None)


def _leave_process_group() -> None:
    """End gloo's threads: one that outlives the interpreter may abort the process.

    They end with the last reference to the group, and a wrapped model holds one.
    """
    if distributed.is_initialized():
        distributed.destroy_process_group()
    gc.collect()


def _leaves_parameters_out(node: object) -> bool:
    """Whether a model's config has a wrapper that draws branches or holds scales."""
    if isinstance(node, list | tuple):
        return any(map(_leaves_parameters_out, node))
    if not isinstance(node, dict):
        return False
    draws = type_name(node) == 'DMLoRAModel' and node.get('num_branches', 8) > 1
    return (
        draws
        or bool(node.get('learn_scale'))
        or any(map(_leaves_parameters_out, node.values()))
    )


def drop_invalid_worker_options(cfg: Config) -> None:
    """Remove ``persistent_workers`` and ``prefetch_factor`` where no workers are.

    Args:
        cfg (Config): The config; its train, val and test data loaders are changed.
    """
    for part in ('train', 'val', 'test'):
        loader = cfg.get(f'{part}_dataloader')
        if isinstance(loader, dict) and not loader.get('num_workers'):
            for option in WORKER_OPTIONS:
                loader.pop(option, None)


def use_amp(cfg: Config, dtype: str | None = None) -> None:
    """Let a config train in mixed precision.

    Args:
        cfg (Config): The config; its ``optim_wrapper`` is changed.
        dtype (str, optional): ``float16``, with the loss scaled, on a GPU only, or
            ``bfloat16``. Defaults to the first on a GPU and to the other elsewhere.
    """
    if (dtype or ('bfloat16' if _without_gpu() else 'float16')) == 'bfloat16':
        cfg.optim_wrapper.type = 'mmdmlora.BFloat16OptimWrapper'
        return
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def check_amp(cfg: Config) -> None:
    """Refuse mixed precision that the machine lacks, and say where it is slow.

    Raises:
        ValueError: If the optimizer wrapper is ``AmpOptimWrapper`` without a GPU.
    """
    name = type_name(cfg.get('optim_wrapper') or {}, 'OptimWrapper')
    if name == 'AmpOptimWrapper' and _without_gpu():
        raise ValueError(
            f'{name} needs a GPU, and PyTorch sees none. Train with --amp bfloat16 '
            "(optim_wrapper.type='mmdmlora.BFloat16OptimWrapper') or without --amp, or "
            'check the driver and CUDA_VISIBLE_DEVICES.'
        )
    if name == 'BFloat16OptimWrapper' and not has_fast_bfloat16():
        print_log(
            'This machine does not multiply bfloat16 matrices in hardware (a CPU needs '
            'AMX or AVX-512 BF16): training without --amp is faster.',
            logger='current',
            level=logging.WARNING,
        )

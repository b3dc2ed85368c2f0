"""TF32 as a setting of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.logging import print_log

SETTING = 'allow_tf32'


def use_tf32(cfg: Config) -> None:
    """Let a config compute in TF32.

    Args:
        cfg (Config): The config; its ``env_cfg.allow_tf32`` is set.
    """
    cfg.merge_from_dict({f'env_cfg.{SETTING}': True})


def check_tf32(cfg: Config) -> None:
    """Refuse a setting that says neither yes nor no.

    Raises:
        ValueError: If ``env_cfg.allow_tf32`` is no bool.
    """
    setting = _setting(cfg)
    if not isinstance(setting, bool):
        raise ValueError(
            f'env_cfg.{SETTING}={setting!r} is neither True nor False: set one of them.'
        )


@contextmanager
def tf32(cfg: Config) -> Iterator[None]:
    """Multiply single-precision matrices in TF32 inside, where the config asks for it.

    TF32 rounds the factors to 10 bits behind the point; sums stay in single precision.
    What PyTorch was set to comes back afterwards. Where no GPU has TF32 nothing is
    changed, and the log says so.

    Args:
        cfg (Config): The config of the run; its ``env_cfg.allow_tf32`` counts.
    """
    if not _setting(cfg):
        yield
        return
    if not has_tf32():
        print_log(
            f'env_cfg.{SETTING}=True has no effect here: TF32 needs an NVIDIA GPU of the '
            'Ampere generation or later.',
            logger='current',
        )
        yield
        return
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision('high')
        cudnn.allow_tf32 = True
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32 = before[1]


def has_tf32() -> bool:
    """Whether a GPU is there that multiplies in TF32."""
    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)


def _setting(cfg: Config) -> object:
    return (cfg.get('env_cfg') or {}).get(SETTING, False)

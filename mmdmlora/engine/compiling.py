"""``torch.compile`` as a setting of a run."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config

HOOK = 'mmdmlora.CompileHook'


def prepare_compile(cfg: Config) -> None:
    """Turn ``compile=True`` into a hook that compiles what gains from it.

    mmengine compiles the model's whole ``train_step``, with the loading of data onto the
    device, the losses' logs and the optimizer in it.

    Args:
        cfg (Config): The config; ``compile``, a bool or a dict of options of
            ``torch.compile``, becomes ``default_hooks.compile``.

    Raises:
        ValueError: If ``compile`` is something else.
    """
    setting = cfg.pop('compile', None)
    if setting is None or setting is False:
        return
    if setting is not True and not isinstance(setting, dict):
        raise ValueError(
            f'compile={setting!r} is neither True nor False nor a dict of options of '
            "torch.compile, such as dict(mode='max-autotune')."
        )
    options = {} if setting is True else dict(setting)
    cfg.merge_from_dict({'default_hooks.compile': dict(type=HOOK, **options)})


def check_compiler(device: str, **options: Any) -> None:
    """Compile a small function.

    Args:
        device (str): Where it runs.
        **options: Those of ``torch.compile``.

    Raises:
        ValueError: If that fails.
    """
    try:
        function = torch.compile(lambda tensor: tensor.sin() + 1, **options)
        function(torch.ones(8, device=device))
    except Exception as error:  # compilers fail in many ways
        raise ValueError(
            f'torch.compile does not work here ({str(error).splitlines()[0]}): install '
            'a C++ compiler, or train without it (no --compile, compile=False).'
        ) from error

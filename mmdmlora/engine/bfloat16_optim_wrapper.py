"""Training in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from mmdmlora.models.cpu_attention import CPUAttention
from mmdmlora.models.execution import Execution
from mmdmlora.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Compute training forwards in bfloat16, on a GPU or a CPU.

    Parameters, gradients and the optimizer stay in single precision. bfloat16 has the
    range of single precision, so the loss isn't scaled and no step is skipped, other than
    with mmengine's ``AmpOptimWrapper``, which needs a GPU. Evaluation stays in single
    precision.

    Args:
        **kwargs: As in mmengine's ``OptimWrapper``.

    Note:
        State: as mmengine's. On a CPU attention is computed as in
        :func:`~mmdmlora.models.cpu_attention.attention`. A CPU gains only if it
        multiplies bfloat16 matrices in hardware (AMX or AVX-512 BF16), see
        :func:`has_fast_bfloat16`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = torch.device(get_device()).type
        with super().optim_context(model), training_autocast(device, model):
            yield


@contextmanager
def training_autocast(device: str, model: nn.Module) -> Iterator[None]:
    """Autocast to bfloat16 as training uses it.

    On a CPU attention is that of :func:`~mmdmlora.models.cpu_attention.attention`. The
    package's wrappers have it by themselves, other models here.

    Args:
        device: The type of the device, ``cpu`` or ``cuda``.
        model: What runs inside.
    """
    needs_mode = device == 'cpu' and not any(
        isinstance(module, Execution) for module in model.modules()
    )
    attention = CPUAttention() if needs_mode else nullcontext()
    with torch.autocast(device, torch.bfloat16), attention:
        yield


def has_fast_bfloat16() -> bool:
    """Whether this machine computes in bfloat16 faster than in single precision."""
    if torch.device(get_device()).type == 'cpu':
        # Not in every PyTorch that is supported; a missing one says nothing.
        names = ('_is_amx_tile_supported', '_is_avx512_bf16_supported')
        return any(getattr(torch.cpu, name, lambda: True)() for name in names)
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(False)

"""Training in bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

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
        State: as mmengine's. On a CPU attention is computed in single precision, see
        :func:`training_autocast`. A CPU gains only if it multiplies bfloat16 matrices in
        hardware (AMX or AVX-512 BF16), see :func:`has_fast_bfloat16`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = torch.device(get_device()).type
        with super().optim_context(model), training_autocast(device):
            yield


class SinglePrecisionAttention(TorchFunctionMode):
    """Run ``scaled_dot_product_attention`` in float32 where it is given bfloat16."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention or not _has_bfloat16(args, kwargs):
            return func(*args, **kwargs)
        with torch.autocast('cpu', enabled=False):
            args = tuple(map(_single, args))
            kwargs = {name: _single(value) for name, value in kwargs.items()}
            return func(*args, **kwargs).bfloat16()


@contextmanager
def training_autocast(device: str) -> Iterator[None]:
    """Autocast to bfloat16 as training uses it.

    On a CPU attention is left in float32: its backward in bfloat16 takes two to five
    times as long there (PyTorch 2.14), see docs/performance.md. It is the more exact one.

    Args:
        device: The type of the device, ``cpu`` or ``cuda``.
    """
    attention = SinglePrecisionAttention() if device == 'cpu' else nullcontext()
    with torch.autocast(device, torch.bfloat16), attention:
        yield


def _has_bfloat16(args: tuple, kwargs: dict) -> bool:
    query = args[0] if args else kwargs['query']
    return query.dtype == torch.bfloat16


def _single(value: Any) -> Any:
    is_bfloat16 = isinstance(value, Tensor) and value.dtype == torch.bfloat16
    return value.float() if is_bfloat16 else value


def has_fast_bfloat16() -> bool:
    """Whether this machine computes in bfloat16 faster than in single precision."""
    if torch.device(get_device()).type == 'cpu':
        # Not in every PyTorch that is supported; a missing one says nothing.
        names = ('_is_amx_tile_supported', '_is_avx512_bf16_supported')
        return any(getattr(torch.cpu, name, lambda: True)() for name in names)
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(False)

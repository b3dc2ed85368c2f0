"""Frozen weights kept in the type that autocast computes in."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from .layer_checks import is_stock, random_input, trial_copy, weight_fault
from .layers.inserted_layer import InsertedLayer
from .weight_readers import find_reader

FROZEN_DTYPES = {'bfloat16': torch.bfloat16}
# What autocast casts, as doubles aren't.
CAST_FROM = (torch.float32, torch.float16)
STOCK = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def check_frozen_dtype(backbone: nn.Module, name: str | None) -> None:
    """Refuse a type that is unknown, or weights that can't be rounded to it.

    Args:
        backbone: The network.
        name: A key of ``FROZEN_DTYPES``. None: weights stay as they are.

    Raises:
        ValueError: If it is another one, or the backbone is quantised.
    """
    if name is None:
        return
    if name not in tuple(FROZEN_DTYPES):
        raise ValueError(
            f'frozen_dtype={name!r} is unknown: use {", ".join(map(repr, FROZEN_DTYPES))}'
            ', or None to keep the weights as they are.'
        )
    for path, module in backbone.named_modules():
        is_quantized = 'quantized' in type(module).__module__.split('.')
        if is_quantized or (_stock_class(module) and _holds_integers(module)):
            raise ValueError(
                f'frozen_dtype={name!r} is for weights in floating point, and {path!r}, '
                f'a {type(module).__name__}, is quantised: leave frozen_dtype out, or '
                'load the backbone without quantisation.'
            )


def cast_by_autocast(backbone: nn.Module) -> dict[str, nn.Parameter]:
    """The frozen parameters that autocast casts each time they are used.

    These are the weights and biases of linear layers and convolutions that run as their
    stock classes do. What is computed from a weight in single precision before it is
    cast (weight standardisation), read by another module (``nn.MultiheadAttention``,
    which computes in single precision in evaluation on a CPU) or shared with another one
    is left out, and so is all that autocast leaves alone: norms, embeddings, tokens,
    tables of positions.

    Args:
        backbone: The network.

    Returns:
        dict[str, nn.Parameter]: By name.
    """
    uses = Counter(_memory(tensor) for tensor in _tensors(backbone))
    found = {}
    for path, module in backbone.named_modules():
        if not _casts(backbone, path, module):
            continue
        for name, parameter in module.named_parameters(path, recurse=False):
            is_own = uses[_memory(parameter)] == 1
            if is_own and not parameter.requires_grad and parameter.dtype in CAST_FROM:
                found[name] = parameter
    return found


def in_autocast(function: Callable, backbone: nn.Module, dtype: torch.dtype) -> Callable:
    """The same function under autocast.

    Outputs are in single precision, as what follows expects, unless it runs under
    autocast itself: then they have the types that autocast gives.

    Args:
        function: What runs the backbone.
        backbone: The network.
        dtype: What autocast computes in.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        device = device_type(backbone, args, kwargs)
        is_outer = torch.is_autocast_enabled(device)
        with torch.autocast(device, dtype):
            output = function(*args, **kwargs)
        return output if is_outer else tree_map(_in_single_precision, output)

    def _in_single_precision(value: Any) -> Any:
        is_low = isinstance(value, Tensor) and value.dtype == dtype
        return value.float() if is_low else value

    return run


def device_type(backbone: nn.Module, args: tuple, kwargs: dict[str, Any]) -> str:
    """The type of the device that computes: that of the inputs, if there are any.

    The copies of nn.DataParallel have no parameters to ask.
    """
    values = chain(tree_leaves((args, kwargs)), backbone.parameters())
    return next(value.device.type for value in values if isinstance(value, Tensor))


def _casts(backbone: nn.Module, path: str, module: nn.Module) -> bool:
    """Whether autocast casts the module's parameters, and nothing else uses them."""
    base = _stock_class(module)
    if base is None or weight_fault(module):
        return False
    parent, _, name = path.rpartition('.')
    is_adapted = isinstance(backbone.get_submodule(parent), InsertedLayer)
    if find_reader(backbone, parent if is_adapted and name == 'original' else path):
        return False
    return is_stock(module, base) or _is_equal_when_rounded(module)


@torch.no_grad()
def _is_equal_when_rounded(layer: nn.Module) -> bool:
    """Whether a layer with a forward of its own gives the same under autocast."""
    if not isinstance(layer, (nn.Linear, nn.Conv2d)):
        return False
    generator = torch.Generator().manual_seed(0)
    x = random_input(layer, generator).float()
    single = trial_copy(layer, generator)
    rounded = copy.deepcopy(single)
    for parameter in rounded.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    try:
        with torch.autocast('cpu', torch.bfloat16):
            pairs = [(single.train(m)(x), rounded.train(m)(x)) for m in (True, False)]
    except Exception:
        return False
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


def _stock_class(module: nn.Module) -> type[nn.Module] | None:
    return next((base for base in STOCK if isinstance(module, base)), None)


def _holds_integers(module: nn.Module) -> bool:
    return any(
        type(p.data) is not Tensor or not p.is_floating_point()
        for p in module.parameters(recurse=False)
    )


def _tensors(backbone: nn.Module) -> Iterator[Tensor]:
    for module in backbone.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                yield tensor


def _memory(tensor: Tensor) -> int:
    """What tells one tensor's memory from another's."""
    has_memory = type(tensor.data) is Tensor and not tensor.is_meta and tensor.numel()
    return tensor.untyped_storage().data_ptr() if has_memory else id(tensor)

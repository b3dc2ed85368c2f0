"""Whether a layer is its stored weight, applied once: what adapting and merging need."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .fused_qkv import parts_fault
from .targets import Target

Named = list[tuple[str, nn.Module]]
HOOKS = ('_forward_hooks', '_forward_pre_hooks')


def check_layers(backbone: nn.Module, targets: Iterable[Target]) -> None:
    """Refuse layers that compute something else than their weight applied to the input.

    A method adds to such a layer's output or folds into its weight, which are the same
    only where the weight is multiplied with as it is stored, and nobody else uses it.

    Args:
        backbone: The network.
        targets: Layers of it.

    Raises:
        ValueError: If a layer stands in two places, shares memory with another
            parameter, computes its weight, has hooks, or has a forward of its own that
            gives something else, or if its parts aren't thirds of its rows. The message
            names the layer and the remedy.
    """
    modules = list(backbone.named_modules(remove_duplicate=False))
    for target in targets:
        fault = (
            _second_place(target, modules)
            or weight_fault(target.layer)
            or _shared_memory(target, modules)
            or forward_fault(target.layer)
            or parts_fault(backbone, target)
        )
        if fault:
            raise ValueError(
                f'{target.name!r}, a {type(target.layer).__name__}, can not be adapted: '
                f'{fault}'
            )


def weight_fault(layer: nn.Module) -> str:
    """Why the layer's weight and bias aren't plain parameters; empty if they are."""
    for name in ('weight', 'bias'):
        parameter = layer._parameters.get(name)
        if parameter is None:
            if name == 'weight' or getattr(layer, name, None) is not None:
                return (
                    f'its {name} is no parameter but computed from others (weight or '
                    'spectral norm, pruning or another parametrization). Make it one '
                    'first: torch.nn.utils.parametrize.remove_parametrizations, '
                    'remove_weight_norm, remove_spectral_norm or prune.remove.'
                )
        elif is_lazy(parameter):
            return f'its {name} has no shape yet. Run the backbone once before.'
        elif type(parameter.data) is not Tensor or not parameter.is_floating_point():
            return (
                f'its {name} is a {type(parameter.data).__name__} of {parameter.dtype}, '
                'not a plain one of floating-point numbers. Load the backbone without '
                'quantization.'
            )
    return ''


def forward_fault(layer: nn.Linear | nn.Conv2d) -> str:
    """Why running the layer isn't applying its weight; empty if it is.

    A class that overrides ``forward`` is tried: with random weights it must give what
    the stock class gives, in training and in evaluation.
    """
    if any(getattr(layer, hooks) for hooks in HOOKS):
        return (
            'it has forward hooks, which may change what it gives. Remove them, and '
            'register them after wrapping.'
        )
    if is_stock(layer, nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Linear):
        return ''
    try:
        equal = _runs_as_stock(layer)
    except Exception as error:
        return f'its own forward fails on random numbers: {error}. Name other targets.'
    if equal:
        return ''
    return (
        f'the forward of {type(layer).__name__} does not apply the stored weight as it '
        'is. Name other targets.'
    )


def random_input(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> Tensor:
    """A batch for the layer on the CPU, ``(4, in)`` or ``(2, in, H, W)``, float64."""
    if isinstance(layer, nn.Conv2d):
        sizes = zip(layer.kernel_size, layer.dilation, strict=True)
        shape = (2, layer.in_channels, *(dilation * (k - 1) + 4 for k, dilation in sizes))
    else:
        shape = (4, layer.in_features)
    return torch.randn(shape, generator=generator, dtype=torch.float64, device='cpu')


def is_stock(layer: nn.Module, base: type[nn.Module]) -> bool:
    """Whether a layer runs the forward of a class of PyTorch."""
    names = ('forward', '__call__', '_conv_forward')
    return 'forward' not in vars(layer) and all(
        getattr(type(layer), name, None) is getattr(base, name, None) for name in names
    )


@torch.no_grad()
def trial_copy(
    layer: nn.Linear | nn.Conv2d, generator: torch.Generator
) -> nn.Linear | nn.Conv2d:
    """A copy of a layer with random parameters, on the CPU in single precision."""
    trial = copy.deepcopy(layer)
    if layer.weight.is_meta:
        trial.to_empty(device='cpu')
    trial.to('cpu', torch.float32)
    for parameter in trial.parameters():
        values = torch.randn(parameter.shape, generator=generator, device='cpu')
        parameter.copy_(values)
    return trial


def _second_place(target: Target, modules: Named) -> str:
    places = [n for n, m in modules if m is target.layer and n != target.name]
    if not places:
        return ''
    return (
        f'the same module stands at {places[0]!r}, so that both places would change. '
        'Name other targets, or give each place a layer of its own.'
    )


def _shared_memory(target: Target, modules: Named) -> str:
    own = {id(p) for p in target.layer.parameters()}
    extents = [e for p in target.layer.parameters() if (e := _extent(p)) is not None]
    for name, tensor in _tensors(modules, target.layer):
        there = None if id(tensor) in own else _extent(tensor)
        if id(tensor) in own or any(_overlap(there, extent) for extent in extents):
            return (
                f'it shares a parameter with {name!r} (tied weights), which would change '
                'with it. Name other targets, or untie them with a copy.'
            )
    return ''


def _tensors(modules: Named, layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, module in modules:
        if module is not layer:
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    yield f'{path}.{name}'.removeprefix('.'), tensor


def _extent(tensor: Tensor) -> tuple[torch.device, int, int] | None:
    """Device, first and last byte's successor; None where there is no memory to share."""
    if is_lazy(tensor) or tensor.is_meta or not tensor.numel():
        return None
    if type(tensor.data) is not Tensor or tensor.layout is not torch.strided:
        return None
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    start = tensor.data_ptr()
    return tensor.device, start, start + (last + 1) * tensor.element_size()


def _overlap(
    one: tuple[torch.device, int, int] | None, other: tuple[torch.device, int, int]
) -> bool:
    return (
        one is not None and one[0] == other[0] and one[1] < other[2] and other[1] < one[2]
    )


@torch.no_grad()
def _runs_as_stock(layer: nn.Linear | nn.Conv2d) -> bool:
    generator = torch.Generator().manual_seed(0)
    trial = trial_copy(layer, generator)
    x = random_input(layer, generator).float()
    if isinstance(layer, nn.Conv2d):
        expected = nn.Conv2d._conv_forward(trial, x, trial.weight, trial.bias)
    else:
        expected = F.linear(x, trial.weight, trial.bias)
    bound = 1e-4 * float(expected.abs().max())
    return all(
        (got := trial.train(mode)(x)).shape == expected.shape
        and torch.allclose(got, expected, rtol=0, atol=bound)
        for mode in (True, False)
    )

"""Which names and calls a checkpoint's pickle may contain, and how they are described."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .inert import INERT_GLOBALS

ITEM_SIZES = {
    'ComplexDouble': 16,
    'ComplexFloat': 8,
    'Double': 8,
    'Long': 8,
    'Float': 4,
    'Int': 4,
    'QInt32': 4,
    'Half': 2,
    'BFloat16': 2,
    'Short': 2,
} | dict.fromkeys(('Byte', 'Char', 'Bool', 'QInt8', 'QUInt8', 'Untyped'), 1)


class Named(str):
    """A class or function that the pickle names."""


class Made(list):
    """The result of a call; its items are the arguments and the state given later."""

    def __init__(self, function: Named, args: tuple):
        super().__init__(args)
        self.function = function


class Storage:
    """A storage that holds tensors' numbers."""

    def __init__(self, item_size: int, num_bytes: int):
        self.item_size, self.num_bytes = item_size, num_bytes


class Pairs(list):
    """A dict, as keys and values in turn."""


def _is_plain(*args) -> bool:
    return all(isinstance(arg, (str, int, float)) for arg in args)


def _is_container(*args) -> bool:
    return all(type(arg) in (tuple, list, Pairs) for arg in args)


def _is_text(*args) -> bool:
    return all(
        isinstance(arg, str) or getattr(arg, 'function', None) == '_codecs.encode'
        for arg in args
    )


def _is_encoding(text: Any, encoding: Any) -> bool:
    return isinstance(text, str) and encoding in ('latin1', 'latin-1', 'utf-8', 'ascii')


def _anything(*args) -> bool:
    return True


# Function -> whether its arguments are those that torch.save writes.
CALLS: dict[str, Callable[..., bool]] = {
    'collections.OrderedDict': _is_container,
    'collections.Counter': _is_container,
    'builtins.set': _is_container,
    'builtins.complex': _is_plain,
    'builtins.bytearray': _is_text,
    '_codecs.encode': _is_encoding,
    'torch.Size': _is_container,
    'torch.device': _is_plain,
    'torch.serialization._get_layout': _is_plain,
    'torch.nn.parameter.Parameter': lambda *args: isinstance(args[0], Made),
    'torch._utils._rebuild_parameter': _anything,
    'torch._utils._rebuild_parameter_with_state': _anything,
    **dict.fromkeys(INERT_GLOBALS, _anything),
}
# These copy or hash what is in their arguments, as often as they are called.
WALKING = (
    'collections.OrderedDict',
    'collections.Counter',
    'collections.deque',
    'mmengine.config.config.ConfigDict',
    'builtins.set',
    'builtins.bytearray',
    '_codecs.encode',
    'torch.Size',
)
REBUILDS = (
    'torch._utils._rebuild_tensor',
    'torch._utils._rebuild_tensor_v2',
    'torch._utils._rebuild_tensor_v3',
    'torch._utils._rebuild_qtensor',
)
REBUILD_FROM_TYPE = 'torch._tensor._rebuild_from_type_v2'
TENSOR_TYPES = ('torch.Tensor', 'torch.nn.parameter.Parameter')


def is_torch_value(name: str) -> bool:
    """Whether a name is that of a type of numbers, of tensors or of storages."""
    module, _, attribute = name.rpartition('.')
    if module in ('torch', 'torch.cuda', 'torch.storage'):
        kinds = (torch.dtype, torch.qscheme)
        is_number = module == 'torch' and isinstance(vars(torch).get(attribute), kinds)
        return is_number or attribute.endswith('Storage') or name in TENSOR_TYPES
    return False


def check_sizes(*numbers) -> None:
    """Raise ValueError unless these are what a shape, its strides and offset can be."""
    if len(numbers) > 100 or not all(
        type(number) is int and 0 <= number < 2**63 for number in numbers
    ):
        raise ValueError('a tensor with an impossible shape')

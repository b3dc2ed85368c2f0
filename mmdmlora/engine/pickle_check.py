"""What a pickle would do if it were loaded, found out without doing it.

``torch.load(weights_only=True)`` calls a few functions for a file, such as those that
rebuild tensors, with arguments of the file's choice: ``bytearray(10**12)`` is one. It
also trusts the sizes that a tensor states. :class:`PickleCheck` goes through the pickle's
operations with a stack of descriptions instead of objects. It allows a call only where
its arguments are known to be harmless, and adds up what the file would need.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from math import prod
from typing import Any, BinaryIO

import torch

from .inert import INERT_GLOBALS
from .pickle_rules import (
    CALLS,
    ITEM_SIZES,
    REBUILD_FROM_TYPE,
    REBUILDS,
    TENSOR_TYPES,
    WALKING,
    Made,
    Named,
    Pairs,
    Storage,
    check_sizes,
    is_torch_value,
)
from .unpacked_size import RefusedFile, check_claim

MAX_VALUES = 1_000_000
MAX_OPERATIONS = 5 * MAX_VALUES
MAX_DEPTH = 100
SAVE_WEIGHTS = 'save its state dict alone (torch.save or safetensors)'
# Modules that a pickle names otherwise than their users do.
ALIASES = {'__builtin__': 'builtins', 'copy_reg': 'copyreg', 'posix': 'os', 'nt': 'os'}
CONSTANTS = (
    *('INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4'),
    *('FLOAT', 'BINFLOAT', 'STRING', 'BINSTRING', 'SHORT_BINSTRING'),
    *('BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8'),
    *('UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8'),
)


class PickleCheck:
    """The check of one pickle.

    Args:
        trusted: Further names that may be called with any arguments: those that the
            user's own program has given to torch.

    Attributes:
        result: A description of what the pickle holds.
        storages: The bytes that each storage claims to have.
        num_bytes: The bytes of all tensors, each as large as its shape says, and of
            texts, each as often as it is copied or referred to.
        protocol: The newest protocol that an operation belongs to.
    """

    def __init__(self, trusted: set[str] = frozenset()):
        self.trusted = trusted
        self.storages: dict[str, int] = {}
        self.num_bytes = 0
        self.protocol = 0
        self.num_visited = 0
        self.stack: list = []
        self.marks: list[list] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: BinaryIO) -> PickleCheck:
        """Go through a pickle, which ends where the stream stands afterwards.

        Raises:
            RefusedFile: If the pickle asks for code, or for too much.
            Exception: Of many kinds if it is damaged.
        """
        operations = enumerate(pickletools.genops(stream))
        for number, (operation, argument, _) in operations:
            if number == MAX_OPERATIONS:
                raise RefusedFile(
                    f'it takes more than {MAX_OPERATIONS:,} steps to read',
                    'save long lists as tensors',
                )
            self.protocol = max(self.protocol, operation.proto)
            if operation.name not in OPERATIONS:
                raise RefusedFile(
                    f'it uses the pickle operation {operation.name}, which torch.save '
                    'never writes and which may run code',
                    SAVE_WEIGHTS,
                )
            OPERATIONS[operation.name](self, argument)
        self.result = self.stack.pop()
        self.visit(self.result)
        return self

    def visit(self, value: Any) -> None:
        """Count the values inside a value as often as they are referred to.

        Whoever walks through a checkpoint, as optimizers do, visits them as often.
        """
        stack = [(value, 0)]
        while stack:
            item, depth = stack.pop()
            if isinstance(item, str):
                self.num_bytes += len(item)
            if not isinstance(item, (tuple, list)):
                continue
            self.num_visited += len(item)
            if self.num_visited > MAX_VALUES:
                raise RefusedFile(
                    f'it holds more than {MAX_VALUES:,} values, counting one as often as '
                    'the file refers to it',
                    'save long lists as tensors, and each value once',
                )
            if depth == MAX_DEPTH:
                raise RefusedFile(
                    f'its values are nested more than {MAX_DEPTH} deep, or contain '
                    'themselves',
                    SAVE_WEIGHTS,
                )
            stack += [(inner, depth + 1) for inner in item]

    def _name(self, module: str, name: str) -> None:
        full = Named(f'{ALIASES.get(module, module)}.{name}')
        if not (
            full in CALLS
            or full in REBUILDS
            or full in self.trusted
            or full == REBUILD_FROM_TYPE
            or is_torch_value(full)
        ):
            self._refuse_name(full)
        self.stack.append(full)

    def _refuse_name(self, name: str) -> None:
        raise RefusedFile(f'it asks for {name}, which may run code', SAVE_WEIGHTS)

    def _call(self, function: Any, args: Any) -> Any:
        if not isinstance(function, Named) or not isinstance(args, tuple):
            raise RefusedFile(
                'it calls something that it has made, which may run code', SAVE_WEIGHTS
            )
        if function == REBUILD_FROM_TYPE:
            inner, kind, inner_args, state = args
            if kind not in TENSOR_TYPES:
                self._refuse_name(function)
            return Made(function, (self._call(inner, inner_args), state))
        if function in REBUILDS:
            self._add_tensor(function, *args)
        elif function not in self.trusted and not (
            function in CALLS and CALLS[function](*args)
        ):
            raise RefusedFile(
                f'it calls {function} with arguments that torch.save never writes',
                SAVE_WEIGHTS,
            )
        if function in WALKING:
            self.visit(args)
        return Made(function, args)

    def _add_tensor(self, function: Named, storage, offset, size, stride, *rest) -> None:
        item_size = storage.item_size
        if function.endswith('_v3'):
            item_size = getattr(torch, rest[2].removeprefix('torch.')).itemsize
        check_sizes(offset, *size, *stride)
        num_bytes = prod(size) * item_size
        if num_bytes:
            steps = ((n - 1) * step for n, step in zip(size, stride, strict=True))
            end = (offset + sum(steps) + 1) * item_size
            check_claim('a tensor', end, storage.num_bytes)
        self.num_bytes += num_bytes

    def _build(self, _) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        function = getattr(target, 'function', None)
        is_metadata = (
            function == 'collections.OrderedDict'
            and isinstance(state, Pairs)
            and all(key == '_metadata' for key in state[::2])
        )
        if not (is_metadata or function in INERT_GLOBALS or function in self.trusted):
            what = function or type(target).__name__
            raise RefusedFile(
                f'it sets attributes of {what}, which may replace its methods',
                SAVE_WEIGHTS,
            )
        target.append(state)

    def _persistent(self, _) -> None:
        kind, storage_type, key, _, numel = self.stack.pop()[:5]
        if kind != 'storage' or not isinstance(storage_type, Named):
            raise ValueError('a storage of an unknown kind')
        if not isinstance(key, str):
            raise ValueError('a storage without a name')
        check_sizes(numel)
        item_size = ITEM_SIZES[storage_type.rpartition('.')[2].removesuffix('Storage')]
        num_bytes = numel * item_size
        self.storages[key] = max(num_bytes, self.storages.get(key, 0))
        self.stack.append(Storage(item_size, num_bytes))

    def _mark(self, _) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def _pop_mark(self) -> list:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _pop(self, count: int) -> list:
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _extend(self, items: list) -> None:
        self.stack[-1].extend(items)

    def _set_items(self, items: list) -> None:
        for key in items[::2]:
            if isinstance(key, (tuple, list)):
                self.visit(key)
        self.stack[-1].extend(items)

    def _global(self, argument: str) -> None:
        self._name(*argument.split(' ', 1))

    def _stack_global(self, _) -> None:
        self._name(*self._pop(2))

    def _instance(self, argument: str) -> None:
        args = tuple(self._pop_mark())
        self._global(argument)
        self.stack[-1] = self._call(self.stack[-1], args)

    def _object(self, _) -> None:
        function, *args = self._pop_mark()
        self.stack.append(self._call(function, tuple(args)))

    def _reduce(self, _) -> None:
        args = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], args)

    def _extension(self, _) -> None:
        self._refuse_name('an entry of the extension registry')

    def _remember(self, place: int | None) -> None:
        place = len(self.memo) if place is None else place
        self.memo[place] = self.stack[-1]


def _pushes(make: Callable[[Any], Any]) -> Callable[[PickleCheck, Any], None]:
    return lambda check, argument: check._push(make(argument))


def _pass(check: PickleCheck, _) -> None:
    """An operation that changes nothing."""


OPERATIONS: dict[str, Callable[[PickleCheck, Any], None]] = {
    **dict.fromkeys(('PROTO', 'FRAME', 'STOP'), _pass),
    **dict.fromkeys(CONSTANTS, _pushes(lambda argument: argument)),
    'NONE': _pushes(lambda _: None),
    'NEWTRUE': _pushes(lambda _: True),
    'NEWFALSE': _pushes(lambda _: False),
    'EMPTY_TUPLE': _pushes(lambda _: ()),
    'EMPTY_LIST': _pushes(lambda _: []),
    'EMPTY_SET': _pushes(lambda _: []),
    'EMPTY_DICT': _pushes(lambda _: Pairs()),
    'TUPLE1': lambda check, _: check._push(tuple(check._pop(1))),
    'TUPLE2': lambda check, _: check._push(tuple(check._pop(2))),
    'TUPLE3': lambda check, _: check._push(tuple(check._pop(3))),
    'MARK': PickleCheck._mark,
    'TUPLE': lambda check, _: check._push(tuple(check._pop_mark())),
    'LIST': lambda check, _: check._push(check._pop_mark()),
    'DICT': lambda check, _: check._push(Pairs(check._pop_mark())),
    'APPEND': lambda check, _: check._extend(check._pop(1)),
    'APPENDS': lambda check, _: check._extend(check._pop_mark()),
    'ADDITEMS': lambda check, _: check._extend(check._pop_mark()),
    'FROZENSET': lambda check, _: check._push(check._pop_mark()),
    'SETITEM': lambda check, _: check._set_items(check._pop(2)),
    'SETITEMS': lambda check, _: check._set_items(check._pop_mark()),
    'GLOBAL': PickleCheck._global,
    'STACK_GLOBAL': PickleCheck._stack_global,
    'INST': PickleCheck._instance,
    'OBJ': PickleCheck._object,
    'NEWOBJ': PickleCheck._reduce,
    'REDUCE': PickleCheck._reduce,
    'BUILD': PickleCheck._build,
    'BINPERSID': PickleCheck._persistent,
    **dict.fromkeys(('EXT1', 'EXT2', 'EXT4'), PickleCheck._extension),
    **dict.fromkeys(('PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE'), PickleCheck._remember),
    **dict.fromkeys(
        ('GET', 'BINGET', 'LONG_BINGET'),
        lambda check, place: check._push(check.memo[place]),
    ),
}

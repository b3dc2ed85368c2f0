"""How a wrapper runs its backbone: in which type, compiled or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from mmpretrain.models.backbones import VisionTransformer
from torch import Tensor, nn

from .cpu_attention import CPUAttention
from .frozen_dtype import (
    FROZEN_DTYPES,
    cast_by_autocast,
    check_frozen_dtype,
    device_type,
    in_autocast,
)
from .trained_state import TrainedState
from .trained_vit import find_vits, has_trained_form, trained_form

# Of one class: a run's batches and prunings, and other models of the same process.
RECOMPILE_LIMIT = 64


class Execution(TrainedState):
    """A module that runs a backbone, under autocast and compiled if it is asked to.

    In training on a CPU, attention in bfloat16 is that of
    :func:`~mmdmlora.models.cpu_attention.attention`, since the backward of PyTorch 2.14's
    takes longer than in single precision there.

    Attributes:
        frozen_dtype (str | None): The type that frozen weights are kept in, see
            :meth:`cast_frozen`. None: as they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frozen_dtype: str | None = None
        # The backbone's parameters that were rounded to it, with their types before.
        self._rounded: dict[str, torch.dtype] = {}
        self._compiled: Callable | None = None
        self._vits: list[VisionTransformer] = []

    @classmethod
    def check_frozen_dtype(cls, backbone: nn.Module, name: str | None) -> None:
        """Refuse a ``frozen_dtype`` that a backbone can't have.

        Raises:
            ValueError: See :func:`~mmdmlora.models.frozen_dtype.check_frozen_dtype`.
        """
        check_frozen_dtype(backbone, name)

    def cast_frozen(self, name: str) -> None:
        """Keep frozen weights in the type that autocast rounds them to in each forward.

        From now on the wrapper runs the backbone under autocast of this type, in
        training and in evaluation. That gives the same outputs and gradients, bit for
        bit, as autocast around single precision. Outputs are in single precision unless
        the caller runs autocast too.

        Args:
            name (str): ``'bfloat16'``.

        Raises:
            ValueError: If it is another one, or the backbone is quantised.

        Note:
            - See :func:`~mmdmlora.models.frozen_dtype.cast_by_autocast` for what is
              rounded. What is trained stays in single precision.
            - Weights that are loaded later are rounded as they are copied.
            - ``to(dtype)``, ``float()`` or ``half()`` end it: all weights have the new
              type then, and the backbone runs without autocast.
            - Call the wrapper or a method of the backbone through it. ``module`` by
              itself needs autocast around it.
        """
        self.check_frozen_dtype(self.module, name)
        self.frozen_dtype = name
        for path, parameter in cast_by_autocast(self.module).items():
            self._rounded[path] = parameter.dtype
            parameter.data = parameter.data.to(FROZEN_DTYPES[name])

    def compile_training(self, **options: Any) -> None:
        """Compile the backbone's training forwards with ``torch.compile``.

        Drawing stays on the host, so that it compiles nothing anew; a pruning does so
        once at most. Evaluation isn't compiled, and neither are copies of the wrapper.

        Args:
            **options: Those of ``torch.compile``. ``dynamic`` defaults to False: each
                size of batch is compiled by itself, so that a step gives the same in a
                resumed run, whatever sizes came before it.
        """
        for module in self.module.modules():
            # Such as mmpretrain's rates of drop path, at which a graph would break.
            for name, value in vars(module).items():
                if isinstance(value, np.generic):
                    setattr(module, name, value.item())
        compiled = torch.compile(self.module, **{'dynamic': False, **options})
        # Past nn.Module: it must not become a submodule.
        object.__setattr__(self, '_compiled', compiled)

    def _run(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        if not self.training:
            return self._as_forward(self.module)(*args, **kwargs)
        if torch.compiler.is_compiling():
            with self._attention(args, kwargs):
                return self._as_forward(self.module)(*args, **kwargs)
        with trained_form(self._vits), self._attention(args, kwargs):
            if self._compiled is None:
                return self._as_forward(self.module)(*args, **kwargs)
            with torch._dynamo.config.patch(recompile_limit=RECOMPILE_LIMIT):
                return self._as_forward(self._compiled)(*args, **kwargs)

    def _attention(self, args: tuple, kwargs: dict[str, Any]) -> AbstractContextManager:
        """What makes attention in bfloat16 fast on a CPU, where the network doesn't."""
        is_autocast = self.frozen_dtype is not None or torch.is_autocast_enabled('cpu')
        if not is_autocast or has_trained_form(self.module):
            return nullcontext()
        is_on_cpu = device_type(self.module, args, kwargs) == 'cpu'
        return CPUAttention() if is_on_cpu else nullcontext()

    def train(self, mode: bool = True) -> Execution:
        super().train(mode)
        self._vits = find_vits(self.module)
        return self

    def _as_forward(self, function: Callable) -> Callable:
        """What runs the backbone, under autocast if frozen weights are kept for it."""
        if self.frozen_dtype is None:
            return function
        return in_autocast(function, self.module, FROZEN_DTYPES[self.frozen_dtype])

    def _restore_types(self, copied: nn.Module, prefix: str = '') -> None:
        """Give rounded parameters of a copy the types they had.

        Args:
            copied: A copy of the backbone or of a module of it.
            prefix: What stands before the module's names in the backbone.
        """
        for name, dtype in self._rounded.items():
            if name.startswith(prefix):
                parameter = copied.get_parameter(name.removeprefix(prefix))
                parameter.data = parameter.data.to(dtype)

    def _refuse_rounded(self, trained: Iterable[Tensor]) -> None:
        """Refuse to train what is rounded."""
        ids = {id(tensor) for tensor in trained}
        for name in self._rounded:
            if id(self.module.get_parameter(name)) in ids:
                raise ValueError(
                    f'{name!r} is to be trained, but frozen_dtype='
                    f'{self.frozen_dtype!r} keeps it in a type in which small steps '
                    'are lost: name it in wrap(..., train_also=[...]), or leave '
                    'frozen_dtype out and call cast_frozen() once it is unfrozen.'
                )

    def _apply(self, fn: Callable, recurse: bool = True) -> Execution:
        before = [parameter.dtype for parameter in self.parameters()]
        super()._apply(fn, recurse)
        if before != [parameter.dtype for parameter in self.parameters()]:
            self.frozen_dtype, self._rounded = None, {}
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), '_compiled': None}

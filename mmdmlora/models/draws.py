"""Which branches are active, and which a training forward uses."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import string_at
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .drawing import StandIns, draw_batch, draw_images, named_adapters, read_pairs
from .layers.adapted_layer import AdaptedLayer, Paths
from .layers.mix_lora import MixLoRA
from .leftover_gradients import LeftoverGradients
from .recomputation import Interval, Recomputation, current_recomputation, now
from .writes import Writes

MODES = ('batch', 'sample')
# Forwards whose draws a later recomputation may ask for.
REMEMBERED = 64
# What belongs to running forwards: no copy has it.
PASSING = (
    '_known',
    '_history',
    '_last_repeat',
    '_leftovers',
    '_stand_ins',
    '_inputs',
    '_current',
    '_fixed',
)


class Draws(nn.Module):
    """Seed, step and active branches of a wrapper, and what its forwards draw.

    A training forward of the wrapper is a step. For it this object chooses branches on
    the host and hands each layer the chosen Parameters themselves. So what wasn't drawn
    is not in the graph, has no gradient, and every optimizer skips it.

    The choice is a function of (seed, step, layer) alone. The three, and which branches
    are active, are buffers: they are saved, resumed, and made equal on all ranks by
    distributed training. The host reads them in each forward where they are on the CPU;
    on other devices, where that would wait, after any write to them, and after each call
    of ``train()`` or ``eval()`` (PyTorch doesn't count writes through ``.data``).

    Args:
        layers (Mapping[str, AdaptedLayer]): The adapted layers by path.
        seed (int): The seed.
        mode (str): ``batch``: a layer draws one pair for the whole batch. ``sample``:
            one for each image.

    Note:
        State: ``seed`` and ``step`` ``()``, int64; ``down_active`` and ``up_active``
        ``(adapters, n)``, bool.
    """

    seed: Tensor
    step: Tensor
    down_active: Tensor
    up_active: Tensor
    _known: Writes | list[bytes] | None
    _history: deque[tuple[Interval, list[Paths]]]
    _last_repeat: Recomputation | None
    _leftovers: LeftoverGradients | None
    _inputs: Sequence[Any] | None
    _current: list[Paths] | None
    _fixed: list[Paths] | None

    def __init__(
        self, layers: Mapping[str, AdaptedLayer], seed: int, mode: str = 'batch'
    ) -> None:
        super().__init__()
        self.layers = dict(layers)
        self.mode = mode
        self.names = [name for name, _ in named_adapters(self.layers)]
        counts = [len(adapter.down) for adapter in self.adapters()]
        device = self.adapters()[0].down[0].device
        exists = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
        exists = exists.to(device)
        self.register_buffer('seed', torch.tensor(seed % 2**63, device=device))
        self.register_buffer('step', torch.tensor(0, device=device))
        self.register_buffer('down_active', exists)
        self.register_buffer('up_active', exists.clone())
        for module in [*self.layers.values(), *self.adapters()]:
            # Past nn.Module: it must not become a submodule of the layers too.
            object.__setattr__(module, 'draws', self)
        self._forget()

    def adapters(self) -> list[MixLoRA]:
        """The adapters in the order of the masks' rows."""
        return [adapter for _, adapter in named_adapters(self.layers)]

    @torch.compiler.disable
    def sync(self) -> None:
        """Bring what the host knows up to date; costs nothing if nothing has changed."""
        written = self._written()
        if self._known == written:
            return
        numbers = torch.cat([b.flatten().long() for b in self._buffers_read()]).tolist()
        self._seed, self._step, *masks = numbers
        rows = np.array(masks, bool).reshape(2, len(self.names), -1)
        for adapter, down, up in zip(self.adapters(), *rows, strict=True):
            adapter.active_indices = tuple(
                tuple(mask.nonzero()[0].tolist()) for mask in (down, up)
            )
        self._known = written

    def drop(self, row: int, kind: str, branch: int) -> None:
        """Take a branch out of the active ones; its Parameter stays as it is.

        Args:
            row (int): The adapter's place in :meth:`adapters`.
            kind (str): ``down`` or ``up``.
            branch (int): Its index.
        """
        mask: Tensor = getattr(self, f'{kind}_active')
        mask[row, branch] = False
        getattr(self.adapters()[row], kind)[branch].grad = None

    @contextmanager
    def forward_step(self, inputs: Sequence[Any], at_once: bool = True) -> Iterator[None]:
        """Hand out what the training forward inside uses, and take it back.

        A forward that backward repeats (activation checkpointing) gets what it had.

        Args:
            inputs: The arguments of the forward; dimension 0 of the first tensor counts
                the images.
            at_once: False: only once an adapted layer runs, if any does.

        Raises:
            RuntimeError: Where parameters can't be handed out, or backward repeats
                several forwards at once.
        """
        if self._inputs is not None:
            yield
            return
        self._inputs, self._current = inputs, None
        start = now()
        try:
            if at_once:
                self._hand_out()
            yield
        finally:
            self._inputs = None
            for layer in self.layers.values():
                layer.paths = None
            if self._current is not None and start >= 0:
                self._history.append((Interval(start, now()), self._current))

    @contextmanager
    def fixed(self) -> Iterator[None]:
        """Let all training forwards inside use what the first of them draws."""
        self._fixes = True
        try:
            yield
        finally:
            self._fixes, self._fixed = False, None

    @torch.compiler.disable
    def watch(self, output: Any) -> None:
        """Let the backward of this output drop zeros that an earlier one left behind.

        Args:
            output: What the forward gave.
        """
        if self._current is None:
            return
        if self._leftovers is None:
            branches = [b for a in self.adapters() for b in (*a.down, *a.up)]
            self._leftovers = LeftoverGradients(branches)
        drawn = [
            b for path in self._current for kind in path[:2] for g in kind for b in g
        ]
        self._leftovers.watch(output, drawn)

    def drawn(self) -> dict[str, list[tuple[int, int]]]:
        """What the latest training forward drew.

        Returns:
            dict: For each adapter its pair of a down and an up branch, or with
            ``sample`` the pair of each image.

        Raises:
            RuntimeError: If there was none.
        """
        if self._current is None:
            raise RuntimeError('nothing is drawn yet: call the wrapper in training mode.')
        return read_pairs(self.layers, self._current)

    @torch.compiler.disable
    def recall(self, layer: AdaptedLayer) -> Paths:
        """What a layer uses to which nothing was handed out yet.

        Raises:
            RuntimeError: If it neither runs inside of a step nor is repeated by
                backward.
        """
        if self._inputs is not None:
            self._hand_out()
            assert layer.paths is not None
            return layer.paths
        repeated = current_recomputation()
        if repeated is None:
            raise RuntimeError(
                'nothing was drawn for this training forward: call the wrapper, or a '
                'method of the backbone through it (wrapper.forward_features), not '
                'wrapper.module. (Or call wrapper.eval() first: then the means of the '
                'branches are used.)'
            )
        return self._find(repeated)[list(self.layers.values()).index(layer)]

    def train(self, mode: bool = True) -> Draws:
        # Averages may have been swapped in, and any branch may have got a gradient.
        self._known = self._leftovers = None
        return super().train(mode)

    def _buffers_read(self) -> tuple[Tensor, ...]:
        return self.seed, self.step, self.down_active, self.up_active

    def _written(self) -> Writes | list[bytes]:
        """What differs once one of the buffers has been written to."""
        buffers = self._buffers_read()
        if any(buffer.device.type != 'cpu' for buffer in buffers):
            return Writes(buffers)
        # Tensor.numpy() would dispatch an operation for each of them, in every step.
        return [string_at(b.contiguous().data_ptr(), b.nbytes) for b in buffers]

    def _forget(self) -> None:
        self._known = self._last_repeat = self._leftovers = None
        self._history = deque(maxlen=REMEMBERED)
        self._stand_ins = StandIns()
        self._inputs = self._current = self._fixed = None
        self._fixes = False

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in PASSING}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget()

    @torch.compiler.disable
    def _hand_out(self) -> None:
        repeated = current_recomputation()
        if repeated is not None:
            paths = self._repeat(repeated)
        elif self._fixed is not None:
            paths = self._current = self._fixed
        else:
            paths = self._current = self._choose(self._inputs or ())
            self._fixed = paths if self._fixes else None
        for layer, path in zip(self.layers.values(), paths, strict=True):
            layer.paths = path

    def _choose(self, inputs: Sequence[Any]) -> list[Paths]:
        """Draw for the next step."""
        self.sync()
        self._check_parameters()
        if self.mode == 'batch':
            paths = draw_batch(self.layers, self._seed, self._step)
        else:
            device, stand_ins = self.step.device, self._stand_ins
            images = _count_images(inputs)
            paths = draw_images(
                self.layers, self._seed, self._step, images, device, stand_ins
            )
        self.step.add_(1)
        self._step += 1
        self._known = self._written()
        return paths

    def _repeat(self, repeated: Recomputation) -> list[Paths]:
        if repeated == self._last_repeat:
            raise RuntimeError(
                'a checkpointed region runs the wrapper several times, so that its '
                'draws can not be told apart when backward repeats it: checkpoint each '
                'call by itself.'
            )
        self._last_repeat = repeated
        return self._find(repeated)

    def _find(self, repeated: Recomputation) -> list[Paths]:
        index = repeated.find([interval for interval, _ in self._history])
        if index is None or (index == 0 and len(self._history) == REMEMBERED):
            raise RuntimeError(
                f'backward repeats a forward that is more than {REMEMBERED} training '
                'forwards old, whose draws are no longer known: call backward earlier.'
            )
        return self._history[index][1]

    def _check_parameters(self) -> None:
        """Refuse the ways of distributed training in which handing out fails."""
        ddp = getattr(DistributedDataParallel, '_active_ddp_module', None)
        if ddp is not None and not ddp.find_unused_parameters:
            raise RuntimeError(
                'branches that were not drawn get no gradient: wrap the model in '
                'DistributedDataParallel(..., find_unused_parameters=True); in a config '
                'find_unused_parameters=True.'
            )
        branch = self.adapters()[0].down[0]
        if type(branch.data) is not Tensor or not isinstance(branch, nn.Parameter):
            raise RuntimeError(
                f'the branches are {type(branch.data).__name__}s: FSDP, which splits '
                'parameters, is not supported. The trained part is small: use '
                'DistributedDataParallel.'
            )


def _count_images(inputs: Iterable[Any]) -> int:
    for value in inputs:
        if isinstance(value, Tensor) and value.dim():
            return len(value)
        if isinstance(value, Mapping):
            return _count_images(value.values())
    raise ValueError(
        "draws='sample' needs the images in one tensor, whose dimension 0 counts them; "
        f'got {", ".join(type(value).__name__ for value in inputs) or "no arguments"}. '
        "Use draws='batch'."
    )

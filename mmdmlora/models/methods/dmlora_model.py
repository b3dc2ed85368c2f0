"""DMLoRA."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmdmlora.registry import MODELS

from ..argument_checks import is_count
from ..layers.mix_lora import MixLoRA
from .low_rank_model import LowRankModel

CRITERIA = ('random', 'norm', 'merge')


@MODELS.register_module()
class DMLoRAModel(LowRankModel):
    r"""Dropout-Mixture Low-Rank Adaptation: many paths in training, one in inference.

    Each adapted layer has n down and n up branches and in each training step uses one
    pair, :math:`y = W x + b + s B_j A_i x`; in inference the means of the active
    branches, :math:`y = W x + b + s \bar B \bar A x`, which is the expectation of the
    training output and folds into :math:`W`. Branches are dropped while training
    (:meth:`prune_branches`), until few or one are left.

    Args:
        module (dict): Config of the backbone.
        rank (int): Rank of each branch. Defaults to 8.
        num_branches (int): Number n of down and of up branches. Defaults to 8.
        scale (float): Initial scale s. Defaults to 1.
        drop_rate (float): Dropout of the adapters' input. Defaults to 0.
        learn_scale (bool): Train each layer's scale ("LS", see
            :class:`~mmdmlora.engine.LearningScalarHook`). Defaults to False.
        targets (Sequence[dict], optional): The layers, see
            :func:`~mmdmlora.models.targets.find_targets`. Defaults to q and v of fused
            qkv layers, each with branches of its own, and ConvNeXt's
            ``pointwise_conv1``.
        seed (int, optional): Seed of the draws. Defaults to PyTorch's seed at the time
            of construction.

    Raises:
        ValueError: If an argument is out of range or a target doesn't fit.

    Note:
        - Each training forward of the wrapper is a step and draws anew. What is drawn is
          a function of (seed, step, layer) alone. Seed and step are buffers, so they are
          saved, resumed, and made equal on all ranks of a distributed run; how many
          random numbers something else consumes makes no difference.
        - A forward that backward repeats (activation checkpointing, of layers or of the
          whole wrapper) uses the latest draw, so each forward must be followed by its
          own backward there.
        - A branch that wasn't drawn isn't touched by the optimizer step, see
          :mod:`~mmdmlora.models.step_mask`. With gradient accumulation a step
          touches each branch that was drawn in one of its forwards.
        - Averages (EMA) are kept of every branch; what is active is taken from the
          trained model.

    Source:
        DMLoRA (ECCV 2024), supplement Sec. 2 and 9.
    """

    def __init__(
        self,
        module: dict,
        rank: int = 8,
        num_branches: int = 8,
        scale: float = 1.0,
        drop_rate: float = 0.0,
        learn_scale: bool = False,
        targets: Sequence[dict] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            module,
            targets,
            rank=rank,
            num_branches=num_branches,
            scale=scale,
            drop_rate=drop_rate,
            learn_scale=learn_scale,
        )
        seed = torch.initial_seed() if seed is None else seed
        self.register_buffer('draw_seed', torch.tensor(seed % 2**63))
        self.register_buffer('draw_step', torch.tensor(0))
        self._host: _HostState | None = None

    @property
    def num_branches(self) -> int:
        """Active down (and up) branches of the layer that has most."""
        return max(len(active) for pair in self._read().active for active in pair)

    @property
    def total_branches(self) -> int:
        """Branches before any pruning, of the layer that has most."""
        return max(len(adapter.down) for adapter in self.adapters.values())

    @torch.no_grad()
    def prune_branches(
        self, num: int = 1, criterion: str = 'random', min_branches: int = 1
    ) -> None:
        """Drop down and up branches of every adapter.

        Args:
            num (int): How many of each kind. An adapter that would keep fewer than
                ``min_branches`` drops fewer.
            criterion (str): Which. ``random``: drawn from the seed, alike on all ranks;
                the paper's "dropout". ``norm``: those with the smallest Frobenius norm.
                ``merge``: as ``random``, but each dropped branch is folded into the
                survivors so that their mean, and with it the function in evaluation
                mode, doesn't change.
            min_branches (int): What each adapter keeps at least.

        Raises:
            ValueError: If an argument is unknown or out of range, or every adapter
                would keep fewer than ``min_branches``.
        """
        if criterion not in CRITERIA:
            raise ValueError(f'criterion={criterion!r} is none of {CRITERIA}.')
        if not (is_count(num) and is_count(min_branches)):
            raise ValueError(
                f'num={num} and min_branches={min_branches}: use whole numbers above 0.'
            )
        spare = self.num_branches - min_branches
        if num > spare:
            raise ValueError(
                f'cannot drop {num} of {self.num_branches} branches and keep '
                f'{min_branches}: at most {max(spare, 0)} can go.'
            )
        host = self._read()
        for (name, adapter), active in zip(
            self.adapters.items(), host.active, strict=True
        ):
            for kind, indices in zip(('down', 'up'), active, strict=True):
                count = min(num, len(indices) - min_branches)
                for _ in range(count):
                    rng = random.Random(f'{host.seed}/prune/{len(indices)}/{name}/{kind}')
                    _drop(adapter, kind, indices, criterion, rng)
        self._host = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.training:
            self._begin_step()
        return super().forward(*args, **kwargs)

    @torch.compiler.disable
    def _begin_step(self) -> None:
        """Draw a pair for each adapter, unless backward repeats the last forward."""
        host = self._read()
        repeated = torch._C._current_graph_task_id() != -1
        if not repeated:
            host.pairs = [
                draw_pair(host.seed, host.step, name, *active)
                for name, active in zip(self.adapters, host.active, strict=True)
            ]
            host.step += 1
            self.draw_step += 1
            device = self.draw_step.device
            pairs = torch.tensor(host.pairs, pin_memory=device.type == 'cuda')
            pairs = pairs.to(device, non_blocking=True)
            for adapter, pair in zip(self.adapters.values(), pairs, strict=True):
                adapter.drawn = pair
        if torch.is_grad_enabled():
            for adapter, pair in zip(self.adapters.values(), host.pairs, strict=True):
                adapter.mark_drawn(*pair)

    def _read(self) -> _HostState:
        """The state on the host: read once, as reading waits for the device."""
        if self._host is None:
            self._host = _HostState(
                seed=int(self.draw_seed),
                step=int(self.draw_step),
                active=[adapter.active() for adapter in self.adapters.values()],
            )
        return self._host

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._host = None


@dataclass
class _HostState:
    seed: int
    step: int
    active: list[tuple[list[int], list[int]]]
    pairs: list[tuple[int, int]] = field(default_factory=list)


def draw_pair(
    seed: int, step: int, layer: str, down: Sequence[int], up: Sequence[int]
) -> tuple[int, int]:
    """Draw a down and an up branch, independently and uniformly.

    Args:
        seed (int): Seed of the run.
        step (int): Number of the training forward, from 0.
        layer (str): Name of the adapter.
        down (Sequence[int]): Active down branches.
        up (Sequence[int]): Active up branches.

    Returns:
        tuple[int, int]: One of ``down``, one of ``up``: a function of the arguments
        alone.
    """
    rng = random.Random(f'{seed}/{step}/{layer}')
    return rng.choice(down), rng.choice(up)


def _drop(
    adapter: MixLoRA,
    kind: str,
    active: list[int],
    criterion: str,
    rng: random.Random,
) -> None:
    """Drop one active branch and remove it from ``active``."""
    branches: nn.ParameterList = getattr(adapter, kind)
    if criterion == 'norm':
        norms = torch.stack([branches[i].norm() for i in active])
        dropped = active[int(norms.argmin())]
    else:
        dropped = rng.choice(active)
    active.remove(dropped)
    if criterion == 'merge':
        survivors = [branches[i] for i in active]
        mean = torch.stack(survivors).mean(0)
        shift = (branches[dropped] - mean) / (len(survivors) + 1)
        for survivor in survivors:
            survivor.add_(shift)
    mask: Tensor = getattr(adapter, f'{kind}_active')
    mask[dropped] = False

"""DMLoRA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

import torch
from torch import nn

from mmdmlora.registry import MODELS

from ..argument_checks import is_count
from ..draws import MODES, Draws
from ..pruning import check_criterion, prune
from ..weight_readers import check_readers
from .low_rank_model import LowRankModel


@MODELS.register_module()
class DMLoRAModel(LowRankModel):
    r"""Dropout-Mixture Low-Rank Adaptation: many paths in training, one in inference.

    Each adapted layer has n down and n up branches and in each training step uses one
    pair, :math:`y = W x + b + s B_j A_i x`; in inference the means of the active
    branches, :math:`y = W x + b + s \bar B \bar A x`, which is the expectation of the
    training output and folds into :math:`W`. Branches are dropped while training
    (:meth:`prune_branches`), until few or one are left.

    Args:
        module (dict | nn.Module): The backbone or its config.
        rank (int): Rank of each branch. Defaults to 8.
        num_branches (int): Number n of down and of up branches. Defaults to 8.
        scale (float): Initial scale s. Defaults to 1.
        drop_rate (float): Dropout of the adapters' input. Defaults to 0.
        learn_scale (bool): Train each layer's scale ("LS", see
            :class:`~mmdmlora.engine.LearningScalarHook`). Defaults to False.
        targets (Sequence[dict], optional): The layers, see
            :func:`~mmdmlora.models.targets.find_targets`. Defaults to q and v of each
            attention, each with branches of its own, and the first pointwise layer of
            each ConvNeXt block, see
            :func:`~mmdmlora.models.low_rank_places.default_low_rank_targets`.
        draws (str): ``batch``: a layer draws one pair for all images of a step, as in
            the paper. ``sample``: each image draws its own, so that nearly all branches
            learn in each step and the noise is smaller; the expectation is the same.
            Defaults to ``batch``.
        seed (int, optional): Seed of the draws. Defaults to a random number of PyTorch,
            so that several wrappers of a model draw differently.
        frozen_dtype (str, optional): ``'bfloat16'`` keeps frozen weights in it, see
            :meth:`~mmdmlora.models.execution.Execution.cast_frozen`. Defaults to None.

    Raises:
        ValueError: If an argument is out of range or a target doesn't fit.
        RuntimeError: In a training forward that can't be done exactly: under
            ``nn.DataParallel``, FSDP, or DistributedDataParallel without
            ``find_unused_parameters=True``, or if a part of the backbone is called
            instead of the wrapper.

    Note:
        - Each training forward of the wrapper is a step and draws anew, also a call of
          a backbone's method through the wrapper, such as timm's ``forward_features``.
          What is drawn is a function of (seed, step, layer) alone. Seed, step and
          active branches are buffers (:class:`~mmdmlora.models.draws.Draws`), so they
          are saved, resumed, and made equal on all ranks of a distributed run.
        - A branch that wasn't drawn has no gradient, so no optimizer touches it, however
          many forwards there are before a backward or a step. In evaluation mode the
          means are used: a backward there trains all active branches.
        - An optimizer that calls the model several times in a step and needs the same
          function each time (SAM, LBFGS) needs :meth:`fixed_draws` around the step.
          LBFGS moves along earlier directions too, so it may also move branches that
          earlier steps drew.
        - A forward that backward repeats (activation checkpointing) uses the branches
          that it had, also with several forwards before a backward.

    Source:
        DMLoRA (ECCV 2024), supplement Sec. 2 and 9. Per-image draws are this project's.
    """

    draws: Draws

    def __init__(
        self,
        module: dict | nn.Module,
        rank: int = 8,
        num_branches: int = 8,
        scale: float = 1.0,
        drop_rate: float = 0.0,
        learn_scale: bool = False,
        targets: Sequence[dict] | None = None,
        draws: str = 'batch',
        seed: int | None = None,
        frozen_dtype: str | None = None,
    ) -> None:
        if draws not in MODES:
            raise ValueError(f'draws={draws!r} is unknown: use one of {MODES}.')
        super().__init__(
            module,
            targets,
            frozen_dtype,
            rank=rank,
            num_branches=num_branches,
            scale=scale,
            drop_rate=drop_rate,
            learn_scale=learn_scale,
        )
        if seed is None:
            seed = int(torch.randint(2**63 - 1, (), device='cpu'))
        self.draws = Draws(self._adapted_layers, seed, draws)
        check_readers(self.module, self._adapted_layers)

    @property
    def num_branches(self) -> int:
        """Active down (and up) branches of the layer that has most."""
        self.draws.sync()
        adapters = self.adapters.values()
        return max(len(kind) for a in adapters for kind in a.active_indices)

    @property
    def total_branches(self) -> int:
        """Branches before any pruning, of the layer that has most."""
        return max(len(adapter.down) for adapter in self.adapters.values())

    @property
    def needs_find_unused_parameters(self) -> bool:
        """Branches that weren't drawn get no gradient."""
        return self.total_branches > 1 or super().needs_find_unused_parameters

    @torch.no_grad()
    def prune_branches(
        self,
        num: int = 1,
        criterion: str = 'random',
        min_branches: int = 1,
        averages: Sequence[nn.Module] = (),
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
            averages (Sequence[DMLoRAModel]): Averages of this wrapper (EMA). They drop
                the same branches; with ``merge`` each folds its own.

        Raises:
            ValueError: If an argument is unknown or out of range, or every adapter
                would keep fewer than ``min_branches``.
        """
        check_criterion(criterion)
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
        strangers = [a for a in averages if not isinstance(a, DMLoRAModel)]
        if strangers or any(a.draws.names != self.draws.names for a in averages):
            raise ValueError('averages must be copies of this DMLoRAModel.')
        prune(self.draws, num, criterion, min_branches, [a.draws for a in averages])

    def fixed_draws(self) -> AbstractContextManager[None]:
        """Let all training forwards inside use what the first of them draws.

        For optimizers that need the same function several times in a step::

            with model.fixed_draws():
                optimizer.step(closure)
        """
        return self.draws.fixed()

    # Drawing is the host's: torch.compile compiles what is inside.
    @torch.compiler.disable(recursive=False)
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not self.training:
            self.draws.sync()
            return super().forward(*args, **kwargs)
        return self._as_step(super().forward)(*args, **kwargs)

    def _as_step(self, function: Callable, at_once: bool = True) -> Callable:
        """The same function, as a step of training."""

        @wraps(function)
        def step(*args: Any, **kwargs: Any) -> Any:
            with self.draws.forward_step([*args, *kwargs.values()], at_once):
                output = function(*args, **kwargs)
            self.draws.watch(output)
            return output

        return step

    def _as_method(self, method: Callable) -> Callable:
        method = super()._as_method(method)
        return self._as_step(method, False) if self.training else method

"""A wrapper with an optimizer, and what holds for it at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition
from torch import Tensor, nn

from mmdmlora.models import DMLoRAModel
from mmdmlora.models.drawing import draw_numbers, draw_pair
from mmdmlora.models.methods.low_rank_model import LowRankModel
from tests.test_properties.expected_outputs import (
    TOLERANCE,
    expected_adapters,
    folded,
    kept,
    outputs,
)
from tests.test_properties.random_wrappers import Spec

OPTIMIZERS = st.sampled_from(
    [
        (torch.optim.SGD, dict(lr=1e-2, momentum=0.9, weight_decay=0.1)),
        (torch.optim.SGD, dict(lr=1e-2, momentum=0.9, nesterov=True)),
        (torch.optim.AdamW, dict(lr=1e-2, weight_decay=0.1)),
        (torch.optim.AdamW, dict(lr=1e-2, weight_decay=0.1, foreach=False)),
        (torch.optim.RMSprop, dict(lr=1e-3, momentum=0.9)),
    ]
)

Drawn = dict[str, list[tuple[int, int]]]


def tensors(named: Iterator[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in named}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The names of what differs in a bit."""
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


class WrapperMachine(RuleBasedStateMachine):
    """A wrapper of a method with an optimizer, driven at random."""

    method: str

    def build(self, spec: Spec, optimizer: tuple) -> None:
        self.spec, self.optimizer_type = spec, optimizer
        self.held = set()
        self.pairs: list[Drawn] = []
        self.use(spec.build())
        self.trained = {n for n, p in self.model.named_parameters() if p.requires_grad}
        self.frozen = self.state(trained=False)
        self.is_low_rank = isinstance(self.model, LowRankModel)
        if self.is_low_rank:
            self.check_adapters()
        if spec.method != 'VPTModel':
            x = spec.images(0)
            assert torch.equal(self.evaluated(x), outputs(spec.plain(), x))

    def use(self, model: nn.Module) -> None:
        self.model = model
        kind, options = self.optimizer_type
        self.optimizer = kind(model.trainable_parameters(), **options)

    def check_adapters(self) -> None:
        expected = expected_adapters(self.spec)
        assert self.model.adapters.keys() == expected.keys()
        for name, adapter in self.model.adapters.items():
            options = expected[name]
            assert len(adapter.down) == len(adapter.up) == options['num_branches']
            assert adapter.down[0].shape[0] == adapter.up[0].shape[1] == options['rank']
            assert adapter.dropout.p == options['drop_rate']
            assert adapter.learn_scale == options['learn_scale']
            assert float(adapter.scale.detach()) == pytest.approx(options['scale'])

    def state(self, trained: bool) -> dict[str, Tensor]:
        """All parameters that are trained, or what must never change."""
        parameters = tensors(self.model.named_parameters())
        chosen = {n: t for n, t in parameters.items() if (n in self.trained) == trained}
        if not trained:
            moving = ('draws.step', '_active')
            buffers = tensors(self.model.named_buffers())
            chosen |= {n: b for n, b in buffers.items() if not n.endswith(moving)}
        return chosen

    def evaluated(self, x: Tensor) -> Tensor:
        mode = self.model.training
        out = outputs(self.model, x)
        self.model.train(mode)
        return out

    def forward(self, x: Tensor, call: Callable | None = None) -> Tensor:
        """A training forward, with what it drew added to :attr:`pairs`.

        The draws must be those of the buffers' seed, step and active branches, and the
        output that of the drawn pairs.
        """
        expected = self.next_draws(len(x))
        out = (call or self.model)(x)[-1]
        if isinstance(self.model, DMLoRAModel):
            assert self.model.draws.drawn() == expected
        self.pairs.append(expected)
        self.check_training_output(x, out, expected)
        return out

    def next_draws(self, images: int) -> Drawn:
        """What the next forward must draw, from the buffers."""
        if not isinstance(self.model, DMLoRAModel):
            return {name: [(0, 0)] for name in self.model.adapters}
        draws = self.model.draws
        seed, step = int(draws.seed), int(draws.step)
        expected = {}
        for name, adapter in self.model.adapters.items():
            down, up = kept(adapter, 'down'), kept(adapter, 'up')
            if draws.mode == 'batch':
                expected[name] = [draw_pair(seed, step, name, down, up)]
                continue
            numbers = draw_numbers(seed, step, name, 2 * images).reshape(2, images)
            expected[name] = [
                (down[i % len(down)], up[j % len(up)]) for i, j in numbers.T.tolist()
            ]
        return expected

    def may_move(self, pairs: list[Drawn] | None = None) -> set[str]:
        """The parameters that a step may touch after these draws.

        None stands for a step in evaluation mode: all active branches.
        """
        if not self.is_low_rank:
            return set(self.trained)
        names = {id(p): n for n, p in self.model.named_parameters()}
        free = set()
        for name, adapter in self.model.adapters.items():
            if pairs is None:
                used = list(product(kept(adapter, 'down'), kept(adapter, 'up')))
            else:
                used = [pair for drawn in pairs for pair in drawn[name]]
            if 'branches' not in self.held:
                for i, j in used:
                    free |= {names[id(adapter.down[i])], names[id(adapter.up[j])]}
            if adapter.learn_scale and 'scales' not in self.held:
                free.add(names[id(adapter.log_scale)])
        return free

    def check_training_output(self, x: Tensor, out: Tensor, drawn: Drawn) -> None:
        """It is that of the drawn pairs: the same for all images, or one for each."""
        adapters = self.model.adapters.values()
        if not self.is_low_rank or any(adapter.dropout.p for adapter in adapters):
            return
        count = len(next(iter(drawn.values())))
        for index in range(count):
            pairs = {name: pairs[index] for name, pairs in drawn.items()}
            chosen = slice(None) if count == 1 else slice(index, index + 1)
            plain = folded(self.spec, self.model, pairs)
            expected = outputs(plain, x[chosen], training=True)
            torch.testing.assert_close(out[chosen].detach(), expected, **TOLERANCE)

    def loss(self, out: Tensor) -> Tensor:
        """A loss whose gradient vanishes nowhere."""
        return (out - torch.linspace(-1, 1, out[0].numel()).view_as(out[0])).abs().mean()

    def backward(self, loss: Tensor) -> None:
        """Backward, unless all that could have a gradient is held."""
        assert loss.requires_grad or 'branches' in self.held
        if loss.requires_grad:
            loss.backward()

    def check_moved(self, before: dict[str, Tensor], free: set[str]) -> None:
        """What a step has moved since: nothing that it wasn't free to, and something."""
        moved = changed(before, self.state(trained=True))
        assert moved <= free, 'what was not drawn or is held has moved'
        assert moved or 'branches' in self.held, 'nothing has learnt'
        if self.is_low_rank:
            named = self.model.named_parameters()
            assert {n for n, p in named if p.grad is not None} == free

    @invariant()
    def only_what_is_trained_changes(self) -> None:
        gradients = {n for n, p in self.model.named_parameters() if p.requires_grad}
        assert gradients == self.trained
        assert not changed(self.frozen, self.state(trained=False))

    @invariant()
    def state_holds_no_frozen_tensor(self) -> None:
        parameters = {n for n, _ in self.model.named_parameters()}
        assert parameters & self.model.state_dict().keys() == self.trained

    @precondition(lambda self: self.is_low_rank)
    @invariant()
    def evaluation_is_the_mean_of_the_active_pairs(self) -> None:
        x = self.spec.images(3)
        expected = outputs(folded(self.spec, self.model), x)
        torch.testing.assert_close(self.evaluated(x), expected, **TOLERANCE)
        for adapter in self.model.adapters.values():
            rows, columns = adapter.up[0].shape[0], adapter.down[0].shape[1]
            assert adapter.delta_weight().shape == (rows, columns)

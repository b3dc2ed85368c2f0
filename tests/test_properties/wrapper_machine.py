"""A wrapper with an optimizer, and what holds for it at any time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition
from torch import Tensor, nn

from mmdmlora.models import DMLoRAModel
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

    def drawn(self) -> dict[str, tuple[int, int]]:
        """The pair of each adapter in the last training forward."""
        if not isinstance(self.model, DMLoRAModel):
            return dict.fromkeys(self.model.adapters, (0, 0))
        return {name: pair for name, (pair,) in self.model.draws.drawn().items()}

    def may_move(self, pairs: list[dict[str, tuple[int, int]]]) -> set[str]:
        """The parameters that a step after these draws may touch."""
        if not self.is_low_rank:
            return set(self.trained)
        names = {id(p): n for n, p in self.model.named_parameters()}
        free = set()
        for name, adapter in self.model.adapters.items():
            if 'branches' not in self.held:
                for i, j in (drawn[name] for drawn in pairs):
                    free |= {names[id(adapter.down[i])], names[id(adapter.up[j])]}
            if adapter.learn_scale and 'scales' not in self.held:
                free.add(names[id(adapter.log_scale)])
        return free

    def check_training_output(self, x: Tensor, out: Tensor, pairs: dict) -> None:
        """It is that of the drawn pairs, and those are active."""
        if not self.is_low_rank:
            return
        for name, (i, j) in pairs.items():
            adapter = self.model.adapters[name]
            assert i in kept(adapter, 'down') and j in kept(adapter, 'up')
        if not any(adapter.dropout.p for adapter in self.model.adapters.values()):
            plain = folded(self.spec, self.model, pairs)
            expected = outputs(plain, x, training=True)
            torch.testing.assert_close(out.detach(), expected, **TOLERANCE)

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

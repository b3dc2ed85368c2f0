"""Any wrapper keeps its contracts in any order of steps, prunings, loads and merges."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from torch import Tensor, nn

from mmdmlora.models import DMLoRAModel
from mmdmlora.models.methods.dmlora_model import CRITERIA
from tests.test_properties.expected_outputs import TOLERANCE, kept, outputs
from tests.test_properties.random_wrappers import Spec, specs
from tests.test_properties.wrapper_machine import (
    OPTIMIZERS,
    WrapperMachine,
    changed,
    tensors,
)

UNMERGEABLE = ('AdapterModel', 'VPTModel')
NO_ROOM = ('RepAdapterModel', 'convnext')  # before a depthwise convolution


class Lifetime(WrapperMachine):
    """What users do with a wrapper, in any order."""

    @initialize(
        spec=st.runner().flatmap(lambda machine: specs(machine.method)),
        optimizer=OPTIMIZERS,
        std=st.sampled_from([0, 0.1, 0.5]),
    )
    def begin(self, spec: Spec, optimizer: tuple, std: float) -> None:
        self.build(spec, optimizer)
        self.move(0, std)

    @rule(
        seed=st.integers(0, 9),
        forwards=st.integers(1, 2),
        by_closure=st.booleans(),
        to_none=st.booleans(),
    )
    def step(self, seed: int, forwards: int, by_closure: bool, to_none: bool) -> None:
        self.model.train()
        before = self.state(trained=True)
        pairs = []

        def closure() -> Tensor:
            self.optimizer.zero_grad(set_to_none=to_none)
            for number in range(forwards):
                x = self.spec.images(seed + number)
                out = self.model(x)[-1]
                pairs.append(self.drawn())
                self.check_training_output(x, out, pairs[-1])
                loss = (out - torch.linspace(-1, 1, out[0].numel()).view_as(out[0])).abs()
                loss.mean().backward()
            return loss.mean()

        if by_closure:
            self.optimizer.step(closure)
        else:
            closure()
            self.optimizer.step()
        moved = changed(before, self.state(trained=True))
        free = self.may_move(pairs)
        assert moved <= free, 'what was not drawn or is held has moved'
        assert moved or 'branches' in self.held, 'nothing has learnt'
        if self.is_low_rank:
            named = self.model.named_parameters()
            assert {n for n, p in named if p.grad is not None} == free

    @precondition(lambda self: isinstance(self.model, DMLoRAModel))
    @rule(
        criterion=st.sampled_from(CRITERIA),
        num=st.integers(1, 3),
        min_branches=st.integers(1, 3),
    )
    def prune(self, criterion: str, num: int, min_branches: int) -> None:
        model, x = self.model, self.spec.images(0)
        active = {n: a.active() for n, a in model.adapters.items()}
        before, function = tensors(model.state_dict().items()), self.evaluated(x)
        most = max(len(down) for down, _ in active.values())
        if num > most - min_branches:
            with pytest.raises(ValueError, match='cannot drop'):
                model.prune_branches(num, criterion, min_branches)
            assert not changed(before, model.state_dict())
            return
        branches = self.state(trained=True)
        model.prune_branches(num, criterion, min_branches)
        assert model.num_branches == most - num >= min_branches
        for name, adapter in model.adapters.items():
            pair = zip(('down', 'up'), active[name], adapter.active(), strict=True)
            for kind, old, new in pair:
                assert set(new) <= set(old) and new == kept(adapter, kind)
                assert len(new) == max(len(old) - num, min(len(old), min_branches))
                if criterion == 'norm':
                    norms = [float(b.detach().norm()) for b in getattr(adapter, kind)]
                    gone = set(old) - set(new)
                    assert all(norms[i] <= norms[k] for i in gone for k in new)
        if criterion == 'merge':
            torch.testing.assert_close(self.evaluated(x), function, **TOLERANCE)
        else:
            assert not changed(branches, self.state(trained=True))

    @precondition(lambda self: self.is_low_rank)
    @rule(branches=st.booleans(), scales=st.booleans())
    def hold(self, branches: bool, scales: bool) -> None:
        if scales and not self.model.scale_parameters():
            with pytest.raises(ValueError, match='learn_scale=True'):
                self.model.set_trained(branches, scales)
            return
        self.model.set_trained(branches, scales)
        trained = dict(branches=branches, scales=scales)
        self.held = {name for name, on in trained.items() if not on}

    @rule(seed=st.integers(0, 9), std=st.sampled_from([1e-3, 0.1, 0.5]))
    def move(self, seed: int, std: float) -> None:
        """As many steps would: every trained value changes."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.model.trainable_parameters():
                parameter += std * torch.randn(parameter.shape, generator=generator)

    @rule(training=st.booleans())
    def switch(self, training: bool) -> None:
        self.model.train(training)

    @rule(prefixed=st.booleans())
    def resume(self, prefixed: bool) -> None:
        """Build anew, load, and go on with that: the same outputs, bit for bit."""
        rebuilt = self.spec.build()
        with torch.no_grad():
            for parameter in rebuilt.trainable_parameters():
                parameter.add_(1)
        outputs(rebuilt, self.spec.images(0), training=True)
        ours, theirs = self.model, rebuilt
        expected = self.model.state_dict().keys()
        if prefixed:
            ours, theirs = (
                nn.ModuleDict(dict(module_neck=nn.Linear(2, 2), wrapper=m))
                for m in (ours, theirs)
            )
            expected = {f'wrapper.{name}' for name in expected}
            expected |= {'module_neck.weight', 'module_neck.bias'}
        assert ours.state_dict().keys() == expected
        theirs.load_state_dict(copy.deepcopy(ours.state_dict()), strict=True)
        assert not changed(ours.state_dict(), theirs.state_dict())
        x, mode = self.spec.images(1), self.model.training
        for training in (False, True):
            results = []
            for model in (self.model, rebuilt):
                torch.manual_seed(0)
                results.append(outputs(model, x, training))
            assert torch.equal(*results)
        self.held = set()
        rebuilt.train(mode)
        self.use(rebuilt)

    @rule()
    def merge(self) -> None:
        x, before = self.spec.images(2), tensors(self.model.state_dict().items())
        unmergeable = self.spec.method in UNMERGEABLE
        if unmergeable or (self.spec.method, self.spec.kind) == NO_ROOM:
            with pytest.raises(ValueError, match='merge'):
                self.model.merge()
        else:
            merged = self.model.merge()
            assert all('mmdmlora' not in type(m).__module__ for m in merged.modules())
            assert merged.state_dict().keys() == self.spec.plain().state_dict().keys()
            assert all(p.requires_grad for p in merged.parameters())
            torch.testing.assert_close(outputs(merged, x), self.evaluated(x), **TOLERANCE)
        assert not changed(before, self.model.state_dict())


def lifetimes(method: str, share: float) -> type:
    """The test of a method, with a share of the examples."""
    case = type(method, (Lifetime,), dict(method=method)).TestCase
    examples = int(share * settings.default.max_examples)
    case.settings = settings(max_examples=examples, stateful_step_count=15)
    return case


TestDMLoRA = lifetimes('DMLoRAModel', 0.4)
TestLoRA = lifetimes('LoRAModel', 0.1)
TestRepAdapter = lifetimes('RepAdapterModel', 0.1)
TestAdapter = lifetimes('AdapterModel', 0.05)
TestVPT = lifetimes('VPTModel', 0.05)
TestBitFit = lifetimes('BitFitModel', 0.05)

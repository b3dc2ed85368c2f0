"""Any wrapper keeps its contracts in any order of steps, prunings, loads and merges."""

from __future__ import annotations

import copy
from types import MethodType

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmdmlora.models import DMLoRAModel
from mmdmlora.models.pruning import CRITERIA
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
        forwards=st.integers(1, 3),
        jointly=st.booleans(),
        checkpointed=st.booleans(),
        by_closure=st.booleans(),
        to_none=st.booleans(),
    )
    def step(
        self,
        seed: int,
        forwards: int,
        jointly: bool,
        checkpointed: bool,
        by_closure: bool,
        to_none: bool,
    ) -> None:
        """One optimizer step of several forwards, with one backward or one for each."""
        self.model.train()
        before, self.pairs = self.state(trained=True), []

        def call(x: Tensor) -> tuple[Tensor, ...]:
            return checkpoint(self.model, x, use_reentrant=False)

        def closure() -> Tensor:
            self.optimizer.zero_grad(set_to_none=to_none)
            total = torch.zeros(())
            for number in range(forwards):
                x = self.spec.images(seed + number)
                loss = self.loss(self.forward(x, call if checkpointed else self.model))
                total = total + loss
                if not jointly:
                    self.backward(loss)
            if jointly:
                self.backward(total)
            return total.detach()

        if by_closure:
            self.optimizer.step(closure)
        else:
            closure()
            self.optimizer.step()
        self.check_moved(before, self.may_move(self.pairs))

    @precondition(lambda self: not self.held)
    @rule(forwards=st.integers(1, 3), to_none=st.booleans())
    def checkpointing_changes_no_gradient(self, forwards: int, to_none: bool) -> None:
        """Several forwards before their joint backward, with and without it."""
        gradients = []
        for checkpointed in (False, True):
            model = copy.deepcopy(self.model).train()
            model.zero_grad(set_to_none=to_none)
            torch.manual_seed(0)
            total = torch.zeros(())
            for number in range(forwards):
                x = self.spec.images(number)
                if checkpointed:
                    out = checkpoint(model, x, use_reentrant=False)
                else:
                    out = model(x)
                total = total + self.loss(out[-1])
            total.backward()
            gradients.append({n: p.grad for n, p in model.named_parameters()})
        torch.testing.assert_close(*gradients, rtol=0, atol=0)

    @rule(seed=st.integers(0, 9), to_none=st.booleans())
    def step_in_evaluation_mode(self, seed: int, to_none: bool) -> None:
        self.model.eval()
        before = self.state(trained=True)
        self.optimizer.zero_grad(set_to_none=to_none)
        self.backward(self.loss(self.model(self.spec.images(seed))[-1]))
        self.optimizer.step()
        self.check_moved(before, self.may_move())

    @precondition(lambda self: self.is_low_rank)
    @rule(seed=st.integers(0, 9))
    def step_that_a_scaler_skips(self, seed: int) -> None:
        """Gradients overflow: nothing moves, and the draws go on."""
        self.model.train()
        before = self.state(trained=True)
        scaler = torch.amp.GradScaler('cpu', init_scale=2.0**10)
        self.optimizer.zero_grad()
        loss = self.loss(self.forward(self.spec.images(seed)))
        self.backward(scaler.scale(loss * 1e308))
        if any(p.grad is not None for p in self.model.trainable_parameters()):
            scaler.step(self.optimizer)
            scaler.update()
            assert scaler.get_scale() < 2.0**10
        assert not changed(before, self.state(trained=True))

    @precondition(lambda self: isinstance(self.model, DMLoRAModel) and not self.held)
    @rule(seed=st.integers(0, 9), sharpness_aware=st.booleans())
    def step_of_one_function(self, seed: int, sharpness_aware: bool) -> None:
        """Optimizers that call the model several times see one draw."""
        self.model.train()
        before, x, losses = self.state(trained=True), self.spec.images(seed), []
        trained = list(self.model.trainable_parameters())
        optimizer = torch.optim.LBFGS(trained, lr=1e-3, max_iter=3)

        def closure() -> Tensor:
            self.model.zero_grad()
            losses.append(self.loss(self.model(x)[-1]))
            losses[-1].backward()
            drawn.append(self.model.draws.drawn())
            return losses[-1]

        drawn = [self.next_draws(len(x))]
        with self.model.fixed_draws():
            if sharpness_aware:
                closure()
                with torch.no_grad():
                    ascent = {p: 1e-3 * p.grad for p in trained if p.grad is not None}
                    for parameter, step in ascent.items():
                        parameter.add_(step)
                closure()
                with torch.no_grad():
                    for parameter, step in ascent.items():
                        parameter.sub_(step + 1e-2 * parameter.grad)
            else:
                optimizer.step(closure)
        assert all(each == drawn[0] for each in drawn)
        self.check_moved(before, self.may_move(drawn[:1]))

    @precondition(lambda self: isinstance(self.model, DMLoRAModel))
    @rule(seed=st.integers(0, 9))
    def call_past_the_wrapper(self, seed: int) -> None:
        """A method of the backbone draws as a forward does; the backbone is refused."""
        self.model.train()
        x, backbone = self.spec.images(seed), self.model.module
        with pytest.raises(RuntimeError, match='nothing was drawn'):
            backbone(x)
        backbone.extract = MethodType(lambda module, x: module(x), backbone)
        try:
            self.forward(x, self.model.extract)
        finally:
            del backbone.extract

    @precondition(lambda self: isinstance(self.model, DMLoRAModel))
    @rule(
        seed=st.integers(0, 99),
        step=st.integers(0, 99),
        how=st.sampled_from(['in place', 'data', 'part', 'copied']),
    )
    def write_buffers(self, seed: int, step: int, how: str) -> None:
        """The next forward draws by what is written, however it was written."""
        self.model.train()
        self.forward(self.spec.images(0))
        draws = self.model.draws
        if how == 'part':
            draws.load_state_dict(
                draws.state_dict()
                | dict(seed=torch.tensor(seed), step=torch.tensor(step))
            )
        else:
            for buffer, value in ((draws.seed, seed), (draws.step, step)):
                (buffer.data if how == 'data' else buffer).fill_(value)
        if how == 'copied':
            self.use(copy.deepcopy(self.model))
        self.frozen = self.state(trained=False)
        self.forward(self.spec.images(0))

    @precondition(lambda self: isinstance(self.model, DMLoRAModel))
    @rule(
        criterion=st.sampled_from(CRITERIA),
        num=st.integers(1, 2),
        min_branches=st.integers(1, 2),
    )
    def prune(self, criterion: str, num: int, min_branches: int) -> None:
        """The wrapper and an average of it drop the same branches."""
        model, x = self.model, self.spec.images(0)
        average = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in average.trainable_parameters():
                parameter.mul_(0.5)
        averaged = outputs(average, x)
        active = {n: a.active() for n, a in model.adapters.items()}
        before, function = tensors(model.state_dict().items()), self.evaluated(x)
        most = max(len(down) for down, _ in active.values())
        if num > most - min_branches:
            with pytest.raises(ValueError, match='cannot drop'):
                model.prune_branches(num, criterion, min_branches, [average])
            assert not changed(before, model.state_dict())
            return
        branches = self.state(trained=True)
        model.prune_branches(num, criterion, min_branches, [average])
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
            assert average.adapters[name].active() == adapter.active()
        if criterion == 'merge':
            torch.testing.assert_close(outputs(average, x), averaged, **TOLERANCE)
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
        source, target = self.model, rebuilt
        expected = self.model.state_dict().keys()
        if prefixed:
            source, target = (
                nn.ModuleDict(dict(module_neck=nn.Linear(2, 2), wrapper=m))
                for m in (source, target)
            )
            expected = {f'wrapper.{name}' for name in expected}
            expected |= {'module_neck.weight', 'module_neck.bias'}
        assert source.state_dict().keys() == expected
        target.load_state_dict(copy.deepcopy(source.state_dict()), strict=True)
        assert not changed(source.state_dict(), target.state_dict())
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


TestDMLoRA = lifetimes('DMLoRAModel', 0.3)
TestLoRA = lifetimes('LoRAModel', 0.1)
TestRepAdapter = lifetimes('RepAdapterModel', 0.1)
TestAdapter = lifetimes('AdapterModel', 0.05)
TestVPT = lifetimes('VPTModel', 0.05)
TestBitFit = lifetimes('BitFitModel', 0.05)

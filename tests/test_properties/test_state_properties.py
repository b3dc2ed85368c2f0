"""What a state fits, what is refused, and what merging costs in single precision."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.test_properties.expected_outputs import outputs
from tests.test_properties.random_wrappers import TUNED, Spec, backbones, specs, targets
from tests.test_properties.wrapper_machine import changed, tensors

FINGERPRINT = 'backbone_fingerprint'
SIZES = dict(RepAdapterModel='dim', AdapterModel='dim', VPTModel='num_tokens')


@st.composite
def neighbours(draw, spec: Spec) -> Spec:
    """The same wrapper, or one that differs in one respect."""
    respect = draw(st.sampled_from(['none', 'seed', 'backbone', 'method', 'option']))
    if respect == 'seed':
        return replace(spec, seed=spec.seed + 1)
    if respect == 'backbone':
        backbone, side = draw(backbones(spec.kind))
        return replace(spec, backbone=backbone, side=side)
    if respect == 'method':
        return replace(spec, method='LoRAModel', options={})
    if respect == 'option' and spec.method in SIZES:
        return spec.with_options(**{SIZES[spec.method]: draw(st.sampled_from([2, 4]))})
    if respect == 'option' and spec.method in TUNED:
        return draw(
            st.one_of(
                st.integers(1, 8).map(lambda rank: spec.with_options(rank=rank)),
                st.integers(1, 4).map(
                    lambda number: (
                        spec.with_options(num_branches=number)
                        if spec.method == 'DMLoRAModel'
                        else spec
                    )
                ),
                targets(spec.kind, spec.method).map(
                    lambda chosen: spec.with_options(targets=chosen)
                ),
            )
        )
    return spec


def layout(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def same_frozen_weights(one: nn.Module, other: nn.Module) -> bool:
    """Also of a 1x1 convolution and the linear layer that equals it."""
    ours, theirs = (
        {n: p.flatten() for n, p in model.named_parameters() if not p.requires_grad}
        for model in (one, other)
    )
    return ours.keys() == theirs.keys() and not changed(ours, theirs)


def loads(model: nn.Module, state: dict, strict: bool, fits: bool) -> None:
    """It loads what fits, and refuses anything else without a change."""
    given_state = copy.deepcopy(state)
    before = tensors(model.state_dict().items())
    frozen = tensors(model.named_parameters())
    if fits:
        model.load_state_dict(state, strict=strict)
        after = model.state_dict()
        assert all(torch.equal(after[name], state[name]) for name in state)
    else:
        with pytest.raises(ValueError, match='checkpoint'):
            model.load_state_dict(state, strict=strict)
        assert not changed(before, model.state_dict())
        assert not changed(frozen, tensors(model.named_parameters()))
    assert not changed(given_state, state)


@given(spec=specs(), strict=st.booleans(), data=st.data())
def test_a_state_fits_the_same_wrapper_only(spec, strict, data):
    other = data.draw(neighbours(spec))
    source, target = spec.build(), other.build()
    with torch.no_grad():
        for parameter in source.trainable_parameters():
            parameter.add_(1)
    fits = layout(source) == layout(target) and same_frozen_weights(source, target)
    loads(target, source.state_dict(), strict, fits)


@given(
    spec=specs(),
    fault=st.sampled_from(['missing', 'unknown', 'shape']),
    strict=st.booleans(),
    data=st.data(),
)
def test_a_damaged_state_is_refused(spec, fault, strict, data):
    model = spec.build()
    state = model.state_dict()
    name = data.draw(st.sampled_from(sorted(state.keys() - {FINGERPRINT})))
    if fault == 'missing' and len(state) > 2:
        del state[name]
    elif fault == 'unknown':
        state[f'{name}_2'] = state[name]
    else:
        state[name] = torch.stack([state[name]] * 2)
    loads(model, state, strict, fits=False)


@given(specs('DMLoRAModel', 'LoRAModel', 'RepAdapterModel', 'BitFitModel'))
def test_merge_is_exact_to_single_precision_after_training(spec):
    if (spec.method, spec.kind) == ('RepAdapterModel', 'convnext'):
        spec = spec.with_options(targets=[dict(type='pointwise_conv1')])
    model = spec.build().float()
    x = spec.images(0).float()
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        model.train()
        out = model(x)[-1]
        (out - torch.linspace(-1, 1, out.numel()).view_as(out)).abs().mean().backward()
        optimizer.step()
    merged, expected = outputs(model.merge(), x), outputs(model, x)
    bound = 1e-5 * max(1, float(expected.abs().max()))
    assert (merged - expected).abs().max() < bound

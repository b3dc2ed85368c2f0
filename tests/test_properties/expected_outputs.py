"""What a low-rank wrapper must compute, from the definition and stock modules alone."""

from __future__ import annotations

import re
from itertools import product

import torch
from torch import Tensor, nn

from mmdmlora.models.layers.mix_lora import MixLoRA
from mmdmlora.models.targets import is_linear
from tests.test_properties.random_wrappers import Spec

Pair = tuple[int, int]
TOLERANCE = dict(rtol=1e-9, atol=1e-9)


def outputs(model: nn.Module, x: Tensor, training: bool = False) -> Tensor:
    """The last output in this mode, in which the model is left."""
    model.train(training)  # ConvNeXt's returns None
    with torch.no_grad():
        return model(x)[-1]


def kept(adapter: MixLoRA, kind: str) -> list[int]:
    """The active branches, as the masks say."""
    if adapter.draws is None:
        return list(adapter.active_indices[kind == 'up'])
    row = adapter.draws.adapters().index(adapter)
    return getattr(adapter.draws, f'{kind}_active')[row].nonzero().flatten().tolist()


def pair_delta(adapter: MixLoRA, i: int, j: int) -> Tensor:
    return adapter.scale * adapter.up[j] @ adapter.down[i]


def mean_delta(adapter: MixLoRA) -> Tensor:
    """The average over all pairs, one by one."""
    pairs = list(product(kept(adapter, 'down'), kept(adapter, 'up')))
    return sum(pair_delta(adapter, i, j) for i, j in pairs) / len(pairs)


@torch.no_grad()
def folded(
    spec: Spec, model: nn.Module, pairs: dict[str, Pair] | None = None
) -> nn.Module:
    """The stock backbone with the update of these pairs, or of all, in its weights."""
    plain = spec.plain()
    for name, adapter in model.adapters.items():
        delta = pair_delta(adapter, *pairs[name]) if pairs else mean_delta(adapter)
        path, _, part = name.rpartition('.')
        if part not in ('q', 'k', 'v'):
            path, part = name, ''
        rows = plain.get_submodule(path).weight.flatten(1)
        if part:
            start = 'qkv'.index(part) * len(rows) // 3
            rows = rows[start : start + len(rows) // 3]
        assert delta.shape == rows.shape, name
        rows.add_(delta)
    return plain


def expected_adapters(spec: Spec) -> dict[str, dict]:
    """The options of each adapter by name: the first target that matches decides."""
    qkv = dict(type='qkv', parts=('q', 'v'))
    default = [dict(type='pointwise_conv1') if spec.kind == 'convnext' else qkv]
    chosen = spec.options.get('targets', default)
    found = {}
    for name, layer in spec.plain().named_modules():
        matches = [
            t for t in chosen if name.endswith(t['type']) or re.fullmatch(t['type'], name)
        ]
        if is_linear(layer) and matches:
            target = {**spec.options, **matches[0]}
            options = dict(
                rank=target.get('rank', 8),
                scale=float(target.get('scale', 1)),
                learn_scale=target.get('learn_scale', False),
                num_branches=target.get(
                    'num_branches', 8 if spec.method == 'DMLoRAModel' else 1
                ),
                drop_rate=target.get('drop_rate', 0.0),
            )
            parts = sorted(target.get('parts', ()), key='qkv'.index)
            found.update({f'{name}.{p}' if p else name: options for p in parts or ['']})
    return found

"""What LoRA and DMLoRA do on a backbone."""

from __future__ import annotations

import copy
import re

import torch
from torch import Tensor, nn

from mmdmlora.quiet_log import quiet_log
from mmdmlora.registry import MODELS
from tests.tiny import drawn_parameters

from .mmpretrain import MMPRETRAIN
from .timm import TIMM

METHODS = {
    'LoRAModel': dict(rank=1),
    'DMLoRAModel': dict(rank=1, num_branches=3, seed=0),
}
BACKBONES = {**MMPRETRAIN, **TIMM}


def row(name: str) -> str:
    """A backbone's row in the table: where it is adapted, and what comes of it."""
    backbone = BACKBONES[name]
    where = ', '.join(f'`{t["type"]}`' for t in backbone.targets) or 'default'
    return f'| `{name}` | {where} | {sweep(name)} |'


def sweep(name: str) -> str:
    """What LoRA and DMLoRA do on a backbone: ``works``, or how they refuse it.

    Raises:
        AssertionError: If they do anything else, or not the same.
    """
    results = {attempt(name, method) for method in METHODS}
    assert len(results) == 1, results
    return results.pop()


def attempt(name: str, method: str) -> str:
    """Train a method one step on a backbone, evaluate, merge and reload it."""
    backbone = BACKBONES[name]
    config = dict(METHODS[method], type=f'mmdmlora.{method}', module=backbone.config)
    if backbone.targets:
        config['targets'] = list(backbone.targets)
    torch.manual_seed(0)
    try:
        with quiet_log():
            model = MODELS.build(copy.deepcopy(config))
    except ValueError as error:
        return f'refused: {first_sentence(str(error))}'
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, backbone.channels, *[backbone.size] * 2, generator=generator)
    randomize(model, generator)
    if backbone.is_discontinuous:
        model, x = model.double(), x.double()
    check_step(model, x)
    check_merge(model, x, backbone.config)
    return 'works'


def first_sentence(message: str) -> str:
    """A message without its remedies."""
    return re.split(r'(?<!e\.g)\.(?:\s|$)', message)[0]


@torch.no_grad()
def randomize(model: nn.Module, generator: torch.Generator) -> None:
    """Give what starts constant random values, so that all of the model has an effect.

    Layer scales of 1e-6 and last norms of zero would leave nothing of a block. The
    branches get values of the size of their layer's.
    """
    for parameter in model.module.parameters():
        is_constant = bool((parameter == parameter.flatten()[0]).all())
        if is_constant and not parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.5 + 0.2 * noise)
    for layer in model._adapted_layers.values():
        size = layer.original.weight.std()
        for branch in (p for a in layer.adapters.values() for p in (*a.down, *a.up)):
            branch.copy_(torch.randn(branch.shape, generator=generator))
        for adapter in layer.adapters.values():
            for branch in adapter.up:
                branch.mul_(3 * size)


def tensors(output: object) -> list[Tensor]:
    """All tensors of an output of a backbone."""
    if output is None:
        return []
    if isinstance(output, Tensor):
        return [output]
    return [tensor for part in output for tensor in tensors(part)]


def check_step(model: nn.Module, x: Tensor) -> None:
    """A step moves what is drawn and nothing else, buffers included."""
    before = {n: t.clone() for n, t in (*model.named_parameters(), *buffers(model))}
    model.train()
    generator = torch.Generator().manual_seed(1)
    outputs = [out for out in tensors(model(x)) if out.is_floating_point()]
    loss = sum(
        (out * torch.randn(out.shape, generator=generator)).sum() for out in outputs
    )
    loss.backward()
    torch.optim.Adam(model.trainable_parameters(), 1e-2, eps=1e-15).step()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    if hasattr(model, 'draws'):
        trained = drawn_parameters(model)
        assert len(trained) == 2 * len(model.adapters)
    moved = {
        n
        for n, t in (*model.named_parameters(), *buffers(model))
        if not torch.equal(t, before[n])
    }
    assert moved == trained, sorted(moved ^ trained)[:5]


def buffers(model: nn.Module) -> list[tuple[str, Tensor]]:
    """What the backbone saves and doesn't train by gradients."""
    saved = model.module.state_dict()
    return [(f'module.{n}', b) for n, b in model.module.named_buffers() if n in saved]


@torch.no_grad()
def check_merge(model: nn.Module, x: Tensor, config: dict) -> None:
    """The merged state gives a stock backbone the wrapper's outputs; so does its own."""
    model.eval()
    expected = tensors(model(x))
    with quiet_log():
        stock = MODELS.build(copy.deepcopy(config))
    stock.to(x.dtype).eval()
    unadapted = copy.deepcopy(model)
    for branch in (p for a in unadapted.adapters.values() for p in a.up):
        branch.zero_()
    effect = difference(tensors(unadapted(x)), expected)
    reload(stock, model.merge().state_dict())
    assert difference(tensors(stock(x)), expected) < min(1e-5, effect / 20)
    unadapted.load_state_dict(model.state_dict(), strict=True)
    assert difference(tensors(unadapted(x)), expected) == 0


def reload(stock: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a state strictly, or as strictly as the backbone can load its own.

    SwinTransformerV2 drops tables from what it loads, then misses them.
    """
    own = stock.load_state_dict(stock.state_dict(), strict=False)
    assert stock.load_state_dict(state, strict=False) == own


def difference(got: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference, relative to the largest value of its output."""
    return max(
        float((a - b).abs().max() / b.abs().max())
        for a, b in zip(got, expected, strict=True)
        if b.numel()
    )

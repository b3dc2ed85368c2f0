"""What low-rank methods adapt by default in each architecture."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import nn

from .targets import is_linear

# One layer for q, k and v, and the names of separate layers for q and for v.
FUSED = 'qkv'
SEPARATE = (('q_proj', 'v_proj'), ('query', 'value'), ('q', 'v'))
# ConvNeXt's first pointwise layer in mmpretrain; in transformers and its authors' code.
POINTWISE = ('pointwise_conv1', 'pwconv1')
# The same where its name is common: in the blocks of timm and torchvision.
CONVNEXT_BLOCKS = {
    'timm.models.convnext.ConvNeXtBlock': 'mlp.fc1',
    'torchvision.models.convnext.CNBlock': 'block.3',
}


def default_low_rank_targets(backbone: nn.Module) -> list[dict]:
    """The paper's places: q and v of each attention, and ConvNeXt's first linear layer.

    Args:
        backbone: A model of mmpretrain, timm, torchvision, transformers or another
            library that names its layers as they do; a whole classifier too.

    Returns:
        list[dict]: A target for each layer, see
        :func:`~mmdmlora.models.targets.find_targets`.

    Raises:
        ValueError: If there are none, or q and v are no layers.
    """
    modules = dict(backbone.named_modules())
    linear = {name for name, module in modules.items() if is_linear(module)}
    remedy = f'Name the layers to adapt: targets=[dict(type={_example(linear)!r})].'
    targets = [
        dict(type=re.escape(name), **parts)
        for owner, module in modules.items()
        for name, parts in _places(module, f'{owner}.' if owner else '', linear)
    ]
    if targets:
        return targets
    for name, module in modules.items():
        if isinstance(module, nn.MultiheadAttention):
            raise ValueError(
                f'q and v of {type(backbone).__name__} are no layers: {name!r}, a '
                'MultiheadAttention, holds their weights in one parameter and computes '
                f'with it itself. {remedy}'
            )
    raise ValueError(
        f'{type(backbone).__name__} has no fused qkv, no separate layers for q and v, '
        f'and no first pointwise layer of a ConvNeXt. {remedy}'
    )


def _places(
    module: nn.Module, prefix: str, linear: set[str]
) -> Iterator[tuple[str, dict]]:
    """The layers below a module that low-rank methods adapt, and which parts of them."""
    for child, _ in module.named_children():
        if prefix + child in linear and child.endswith(FUSED):
            yield prefix + child, dict(parts=('q', 'v'))
        elif prefix + child in linear and child in POINTWISE:
            yield prefix + child, {}
    for pair in SEPARATE:
        if linear.issuperset(prefix + part for part in pair):
            yield from ((prefix + part, {}) for part in pair)
    path = CONVNEXT_BLOCKS.get(f'{type(module).__module__}.{type(module).__qualname__}')
    if path is not None and prefix + path in linear:
        yield prefix + path, {}


def _example(linear: set[str]) -> str:
    """The end of the path of an MLP's first layer, if one is found."""
    known = ('mlp.0', 'mlp.fc1', 'fc1')
    return next((k for k in known if any(n.endswith(k) for n in linear)), 'fc1')

"""How the rows of a fused qkv are ordered."""

from __future__ import annotations

from torch import nn

from .targets import Target

# Attentions whose qkv has one head's q, k and v after the other's, or shares of other
# sizes. All else is taken as a third of the rows each, which is how nearly all have it.
OTHER_ORDER = {
    'mmpretrain.models.backbones.efficientformer.AttentionWithBias',
    'mmpretrain.models.utils.attention.LeAttention',
    'timm.layers.lambda_layer.LambdaLayer',
    'timm.models.efficientformer.Attention',
    'timm.models.tiny_vit.Attention',
}


def parts_fault(backbone: nn.Module, target: Target) -> str:
    """Why a target's parts aren't thirds of its rows; empty if they are or it has none.

    Args:
        backbone: The network.
        target: A layer of it.
    """
    if not target.parts:
        return ''
    owner = backbone.get_submodule(target.name.rpartition('.')[0])
    name = f'{type(owner).__module__}.{type(owner).__qualname__}'
    rows, columns = target.layer.weight.shape[:2]
    is_other = name in OTHER_ORDER or getattr(owner, 'head_first', False)
    if not is_other and rows != 2 * columns:
        return ''
    return (
        f'its rows are not q, k and v in thirds, {type(owner).__name__} orders them '
        "otherwise. Adapt all of them: targets=[dict(type='qkv')]."
    )

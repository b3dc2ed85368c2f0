"""Folding an inserted layer into the layer below it, with proof."""

from __future__ import annotations

import copy

import torch
from torch import nn

from .layer_checks import random_input
from .layers.inserted_layer import InsertedLayer

TOLERANCE = 1e-5


@torch.no_grad()
def fold(layer: InsertedLayer) -> nn.Module:
    """The plain layer that computes what an inserted one does in evaluation.

    Weights are computed in double precision and rounded once to the layer's own type.

    Args:
        layer: What is folded. It is used up.

    Returns:
        nn.Module: A plain layer of the type, device and mode of the one that was adapted.

    Raises:
        ValueError: If the method can't be merged, or if the two differ on random
            numbers, by more than 1e-5 of the largest output or 16 roundings of the
            layer's type.
    """
    weight = layer.original.weight
    device, dtype, mode = weight.device, weight.dtype, layer.training
    x = random_input(layer.original, torch.Generator().manual_seed(0))
    try:
        expected = layer.to('cpu', torch.float64).eval()(x)
    except Exception as error:
        raise ValueError(
            f'the adapted layer fails on random numbers in double precision: {error}'
        ) from error
    if not expected.isfinite().all():
        raise ValueError(
            'its output is not finite: the training has diverged. Merge an earlier '
            'checkpoint.'
        )
    folded = layer.merge().to(dtype)
    got = copy.deepcopy(folded).double()(x)
    bound = max(TOLERANCE, 16 * torch.finfo(dtype).eps) * expected.abs().max()
    difference = (got - expected).abs().max()
    if not difference <= bound:
        raise ValueError(
            f'the folded layer differs by {float(difference):.1e} on outputs of up to '
            f'{float(expected.abs().max()):.1e}: its merge() is wrong, or a hook or a '
            'parametrization was registered on it, which has to be removed first.'
        )
    return folded.to(device).train(mode)

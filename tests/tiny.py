"""Tiny backbones and classifiers that many tests share."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mmdmlora.models.construction import build_backbone
from mmdmlora.models.trained_vit import find_vits
from mmdmlora.registry import MODELS

SIZE = 32
VIT = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48),
    img_size=SIZE,
    patch_size=8,
)
SWIN = dict(
    type='mmpretrain.SwinTransformer',
    arch=dict(embed_dims=12, depths=[2, 2], num_heads=[2, 4]),
    img_size=SIZE,
    patch_size=4,
    window_size=4,
    out_indices=(1,),
    drop_path_rate=0.0,
)
CONVNEXT = dict(
    type='mmpretrain.ConvNeXt',
    arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 16, 24]),
    drop_path_rate=0.0,
    layer_scale_init_value=1.0,
)
CONVNEXT_CONV = dict(CONVNEXT, linear_pw_conv=False)
TIMM_VIT = dict(
    type='mmpretrain.TIMMBackbone',
    model_name='vit_tiny_patch16_224',
    img_size=SIZE,
    patch_size=8,
    embed_dim=24,
    depth=2,
    num_heads=2,
)
BACKBONES = dict(
    vit=VIT, swin=SWIN, convnext=CONVNEXT, convnext_conv=CONVNEXT_CONV, timm=TIMM_VIT
)
CHANNELS = dict(vit=24, swin=24, convnext=24, convnext_conv=24, timm=24)


def images(batch: int = 2, seed: int = 0) -> Tensor:
    """A batch of random images, ``(batch, 3, 32, 32)``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, SIZE, SIZE, generator=generator)


def wrapped(method: str, backbone: str = 'vit', seed: int = 0, **options) -> nn.Module:
    """A wrapper around a tiny backbone; the same seed gives the same frozen weights."""
    torch.manual_seed(seed)
    config = copy.deepcopy(BACKBONES[backbone])
    return MODELS.build(dict(type=f'mmdmlora.{method}', module=config, **options))


def classifier_config(backbone: str, wrapper: dict | None = None) -> dict:
    """An image classifier; ``wrapper`` holds a wrapper's options, None is stock."""
    module = copy.deepcopy(BACKBONES[backbone])
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(module=module, **wrapper) if wrapper else module,
        neck=dict(type='mmpretrain.GlobalAveragePooling') if backbone == 'swin' else None,
        head=dict(
            type='mmpretrain.LinearClsHead',
            num_classes=5,
            in_channels=CHANNELS[backbone],
        ),
    )


def randomize(model: nn.Module, seed: int = 1, std: float = 0.3) -> None:
    """Give every branch random values, so that no update is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for adapter in model.adapters.values():
            for branch in [*adapter.down, *adapter.up]:
                branch.copy_(std * torch.randn(branch.shape, generator=generator))


def features(model: nn.Module, x: Tensor) -> Tensor:
    """The last output of a backbone, ``(batch, ...)``."""
    return model(x)[-1]


def assert_starts_as(stock: nn.Module, model: nn.Module) -> None:
    """A fresh wrapper gives what its backbone gives, bit for bit.

    Up to rounding in training on a ViT, whose last layer computes one token then.
    """
    got, expected = (features(each, images()) for each in (model, stock))
    if model.training and find_vits(stock):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    else:
        assert torch.equal(got, expected)


def loss_of(model: nn.Module, x: Tensor) -> Tensor:
    """A loss whose gradient doesn't vanish behind a last layer norm."""
    out = features(model, x).float()
    generator = torch.Generator().manual_seed(4)
    return (out - torch.randn(out.shape, generator=generator).to(out)).square().mean()


def train_steps(model: nn.Module, steps: int, lr: float = 1e-2, **options) -> None:
    """Train with AdamW."""
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr, **options)
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, images(seed=step)).backward()
        optimizer.step()


def plain(backbone: str = 'vit', mode: bool = False) -> nn.Module:
    """The backbone that :func:`wrapped` wraps from seed 0, without a wrapper."""
    torch.manual_seed(0)
    model = build_backbone(BACKBONES[backbone])
    model.train(mode)
    return model


def check_trains_exactly(model: nn.Module, steps: int, **options) -> None:
    """Steps move every trainable tensor and no frozen one, nor the backbone's buffers."""
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    buffers = {n: b.clone() for n, b in model.module.named_buffers()}
    train_steps(model, steps, **options)
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved == parameter.requires_grad, name
    for name, buffer in model.module.named_buffers():
        assert torch.equal(buffer, buffers[name]), name


def paths_of(layer: nn.Module, pairs: dict[str, tuple[int, int]]) -> tuple:
    """What a layer uses where each of its parts has drawn this pair."""
    drawn = [(layer.adapters[part], pair) for part, pair in pairs.items()]
    return (
        tuple((adapter.down[i],) for adapter, (i, _) in drawn),
        tuple((adapter.up[j],) for adapter, (_, j) in drawn),
        None,
    )


def drawn_parameters(model: nn.Module) -> set[str]:
    """The names of the branches that the latest training forward drew."""
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        names[id(branch)]
        for name, pairs in model.draws.drawn().items()
        for i, j in pairs
        for branch in (model.adapters[name].down[i], model.adapters[name].up[j])
    }

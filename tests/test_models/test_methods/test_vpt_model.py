"""Visual prompts: where they go, their reference in plain loops, what is trained."""

import copy
import math

import pytest
import torch
from mmpretrain.registry import MODELS as STOCK
from torch import Tensor, nn

from mmdmlora.models.construction import build_backbone
from mmdmlora.models.layers.prompts import PromptedWindows, Prompts
from mmdmlora.models.methods.vpt_model import VPTModel
from mmdmlora.registry import MODELS
from tests.tiny import BACKBONES, SWIN, VIT, features, images, wrapped

P = 3
TRANSFORMERS = ('vit', 'swin', 'timm')
# The layers that prompts enter when deep, with their channels.
LAYERS = dict(
    vit={f'layers.{i}': 24 for i in range(2)},
    timm={f'timm_model.blocks.{i}': 24 for i in range(2)},
    swin={f'stages.{i}.blocks.{j}': 12 * 2**i for i in range(2) for j in range(2)},
)
everywhere = pytest.mark.parametrize('backbone', TRANSFORMERS)
both = pytest.mark.parametrize('deep', [True, False])


def build(backbone='vit', deep=True, **options) -> VPTModel:
    return wrapped('VPTModel', backbone, num_tokens=P, deep=deep, **options)


def around(config: dict, deep: bool) -> VPTModel:
    """Prompts on a backbone whose weights are all random, ready for evaluation."""
    torch.manual_seed(0)
    wrapper = dict(type='mmdmlora.VPTModel', module=config, num_tokens=P, deep=deep)
    model = MODELS.build(wrapper)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model.eval()


def train(model: VPTModel, steps: int) -> None:
    """Towards a random target, which no normalisation of the features can hide."""
    optimizer = torch.optim.AdamW(model.trainable_parameters(), 1e-2, weight_decay=0.0)
    model.train()
    for step in range(steps):
        y = features(model, images(seed=step))
        target = torch.randn(y.shape, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (y - target).square().mean().backward()
        optimizer.step()


@everywhere
@both
def test_trains_the_prompts_alone(backbone, deep):
    model = build(backbone, deep)
    expected = dict(list(LAYERS[backbone].items())[: None if deep else 1])
    shapes = {
        name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad
    }
    assert shapes == {
        f'module.{name}.prompts.tokens': (P, dims) for name, dims in expected.items()
    }
    assert model.adapters.keys() == expected.keys()
    assert set(model.state_dict()) == {*shapes, 'backbone_fingerprint'}
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    buffers = {n: b.clone() for n, b in model.named_buffers()}
    train(model, 6)
    for name, parameter in model.named_parameters():
        moved = (parameter - before[name]).abs().amax(-1) > 1e-3
        assert moved.all() if name in shapes else not moved.any(), name
        assert name in shapes or torch.equal(parameter, before[name]), name
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, buffers[name]), name


@everywhere
@both
def test_state_rebuilds_the_model(backbone, deep):
    model = build(backbone, deep)
    train(model, 3)
    rebuilt = build(backbone, deep)
    for module in (model, rebuilt):
        module.eval()
    assert not torch.equal(features(rebuilt, images()), features(model, images()))
    rebuilt.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(features(rebuilt, images()), features(model, images()))
    with pytest.raises(ValueError, match='does not fit'):
        build(backbone, not deep).load_state_dict(model.state_dict())


@everywhere
@both
def test_a_copy_has_its_own_prompts(backbone, deep):
    model = build(backbone, deep).eval()
    model(images())
    expected = features(model, images())
    average = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in average.trainable_parameters():
            parameter.copy_(torch.randn(parameter.shape))
    assert not torch.allclose(features(average, images()), expected)
    assert torch.equal(features(model, images()), expected)


@everywhere
@both
def test_every_attention_sees_the_prompts(backbone, deep):
    model, seen = build(backbone, deep), []
    for name, layer in model.module.named_modules():
        if name.endswith('qkv'):
            layer.register_forward_hook(lambda m, args, y: seen.append(args[0].shape))
    model(images())
    windows = [(8, 12)] * 2 + [(2, 24)] * 2 if backbone == 'swin' else [(2, 24)] * 2
    tokens = 16 if backbone == 'swin' else 17
    assert seen == [(rows, P + tokens, dims) for rows, dims in windows]


@everywhere
@both
def test_without_prompts_it_is_the_frozen_backbone(backbone, deep):
    model = build(backbone, deep).eval()
    torch.manual_seed(0)
    plain = build_backbone(BACKBONES[backbone])
    plain.eval()
    expected = features(plain, images())
    assert features(model, images()).shape == expected.shape
    assert (features(model, images()) - expected).abs().max() > 1e-3
    for layer in model.modules():
        if isinstance(layer, Prompts):
            layer.tokens = nn.Parameter(layer.tokens[:0])
        if isinstance(layer, PromptedWindows):
            layer.num_tokens = 0
    torch.testing.assert_close(features(model, images()), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    'options',
    [
        dict(out_type='cls_token'),
        dict(out_type='avg_featmap', with_cls_token=False),
        dict(out_type='featmap', out_indices=[0, 1]),
        dict(out_type='raw', out_indices=[0, 1]),
        dict(out_type='raw', with_cls_token=False, out_indices=[0]),
    ],
)
@both
def test_vit_equals_a_loop_over_its_layers(options, deep):
    model = around(dict(VIT, **options), deep)
    vit, tokens = model.module, [a.tokens for a in model.adapters.values()]
    plain = STOCK.build(dict(VIT, **options))
    patches, size = vit.patch_embed(images())
    front = (
        vit.cls_token.expand(2, 1, 24) if vit.cls_token is not None else patches[:, :0]
    )
    x = torch.cat((front, patches), 1) + vit.pos_embed
    front, patches, prompts = x[:, : front.shape[1]], x[:, front.shape[1] :], None
    expected = []
    for i, layer in enumerate(vit.layers):
        if deep or i == 0:
            prompts = tokens[i].expand(2, P, 24)
        x = torch.cat((front, prompts, patches), 1)
        x = x + layer.attn(layer.ln1(x))
        x = x + layer.ffn.layers(layer.ln2(x))
        n = front.shape[1]
        front, prompts, patches = x[:, :n], x[:, n : n + P], x[:, n + P :]
        y = torch.cat((front, patches), 1)
        y = vit.ln1(y) if i == 1 else y
        if i in vit.out_indices:
            expected.append(vit._format_output(y, size))
    outputs = model(images())
    assert [y.shape for y in outputs] == [y.shape for y in plain(images())]
    for output, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, wanted, rtol=0, atol=1e-6)


def swin_attention(msa: nn.Module, x: Tensor, shift: int) -> Tensor:
    """Attention in 4x4 windows, one after the other: prompts first, then the map."""
    prompts, size = x[:, :P], math.isqrt(x.shape[1] - P)
    grid = x[:, P:].unflatten(1, (size, size))
    moved, means = torch.zeros_like(grid), []
    for corner in range((size // 4) ** 2):
        top, left = (4 * c for c in divmod(corner, size // 4))
        spots = [(top + i + shift, left + j + shift) for i in range(4) for j in range(4)]
        rows = torch.tensor([r % size for r, _ in spots])
        columns = torch.tensor([c % size for _, c in spots])
        y = torch.cat((prompts, grid[:, rows, columns]), 1)
        bias = torch.zeros(msa.num_heads, P + 16, P + 16)
        for a, (r, c) in enumerate(spots):
            for b, (row, column) in enumerate(spots):
                place = (r - row + 3) * 7 + (c - column + 3)
                torn = (r >= size) != (row >= size) or (c >= size) != (column >= size)
                value = msa.relative_position_bias_table[place] - 100 * torn
                bias[:, P + a, P + b] = value
        q, k, v = msa.qkv(y).unflatten(-1, (3, msa.num_heads, -1)).unbind(2)
        logits = torch.einsum('bqhd,bkhd->bhqk', q, k) / math.sqrt(q.shape[-1]) + bias
        y = torch.einsum('bhqk,bkhd->bqhd', logits.softmax(-1), v).flatten(2)
        y = msa.proj(y)
        moved[:, rows, columns] = y[:, P:]
        means.append(y[:, :P])
    return torch.cat((torch.stack(means).mean(0), moved.flatten(1, 2)), 1)


@both
@torch.no_grad()
def test_swin_equals_a_loop_over_its_windows(deep):
    model = around(dict(SWIN, out_indices=(0, 1)), deep)
    swin, tokens = model.module, [a.tokens for a in model.adapters.values()]
    patches, _ = swin.patch_embed(images())
    prompts, expected = tokens[0].expand(2, -1, -1), []
    for i, stage in enumerate(swin.stages):
        for j, block in enumerate(stage.blocks):
            if deep:
                prompts = tokens[2 * i + j].expand(2, -1, -1)
            x = torch.cat((prompts, patches), 1)
            shift = 2 if (i, j) == (0, 1) else 0
            x = x + swin_attention(block.attn.w_msa.original, block.norm1(x), shift)
            x = x + block.ffn.layers(block.norm2(x))
            prompts, patches = x[:, :P], x[:, P:]
        norm, size = (swin.norm0, 8) if i == 0 else (swin.norm1, 4)
        expected.append(norm(patches).unflatten(1, (size, size)).permute(0, 3, 1, 2))
        if i == 0:
            down = copy.deepcopy(stage.downsample)
            down._forward_hooks.clear()
            squares = prompts.flatten(0, 1)[:, None].expand(-1, 4, -1)
            prompts = down(squares, (2, 2))[0].view(2, P, 24)
            patches = down(patches, (8, 8))[0]
    for output, wanted in zip(model(images()), expected, strict=True):
        torch.testing.assert_close(output, wanted, rtol=0, atol=2e-5)


@everywhere
@both
@torch.no_grad()
def test_images_of_a_batch_do_not_mix(backbone, deep):
    model = around(copy.deepcopy(BACKBONES[backbone]), deep)
    single = torch.cat([features(model, image[None]) for image in images(3)])
    torch.testing.assert_close(features(model, images(3)), single, rtol=0, atol=1e-5)


@both
@pytest.mark.parametrize('after', [True, False])
def test_swin_reads_its_stages_with_checkpointing(deep, after):
    config = dict(SWIN, out_indices=(0, 1), out_after_downsample=after)
    grads = []
    for with_cp in (False, True):
        model = around(dict(config, with_cp=with_cp), deep).train()
        outputs = model(images())
        assert [y.shape[1] for y in outputs] == ([24, 24] if after else [12, 24])
        sum((y * y.roll(1, 1)).sum() for y in outputs).backward()
        grads.append([p.grad for p in model.trainable_parameters()])
    for without, recomputed in zip(*grads, strict=True):
        assert without.abs().max() > 1e-3
        torch.testing.assert_close(recomputed, without)


@pytest.mark.parametrize('backbone, inputs', [('vit', 192), ('swin', 48), ('timm', 192)])
def test_prompts_start_uniform_in_the_papers_bound(backbone, inputs):
    model = wrapped('VPTModel', backbone, num_tokens=400)
    bound = math.sqrt(6 / (inputs + (12 if backbone == 'swin' else 24)))
    for adapter in model.adapters.values():
        assert 0.98 * bound < adapter.tokens.max() <= bound
        assert -bound <= adapter.tokens.min() < -0.98 * bound
        assert abs(adapter.tokens.std() - bound / math.sqrt(3)) < 0.03 * bound


def test_dropout_acts_in_training_only():
    model = build(drop_rate=0.5)
    assert not torch.equal(features(model, images()), features(model, images()))
    model.eval()
    assert torch.equal(features(model, images()), features(build().eval(), images()))


def test_counts_on_vit_b16():
    config = dict(type='mmpretrain.VisionTransformer', arch='b', img_size=224)
    for deep, count in ((True, 12 * 10 * 768), (False, 10 * 768)):
        with torch.device('meta'):
            model = MODELS.build(
                dict(type='mmdmlora.VPTModel', module=config, num_tokens=10, deep=deep)
            )
        assert sum(p.numel() for p in model.trainable_parameters()) == count


@pytest.mark.parametrize('kind', ['convnext', 'SwinTransformerV2', 'ViTEVA02', 'resnet'])
def test_what_cannot_be_prompted_is_refused(kind):
    config = BACKBONES['convnext']
    if kind == 'SwinTransformerV2':
        config = dict(type='mmpretrain.SwinTransformerV2', arch='tiny', img_size=256)
    elif kind == 'ViTEVA02':
        config = dict(type='mmpretrain.ViTEVA02', arch='t', img_size=28)
    elif kind == 'resnet':
        config = dict(type='mmpretrain.TIMMBackbone', model_name='resnet10t')
    with pytest.raises(ValueError, match='VPTModel can prompt'):
        MODELS.build(dict(type='mmdmlora.VPTModel', module=copy.deepcopy(config)))


@pytest.mark.parametrize(
    'options', [dict(num_tokens=0), dict(num_tokens=1.5), dict(drop_rate=1.0)]
)
def test_bad_arguments_are_refused(options):
    with pytest.raises(ValueError, match=f'{next(iter(options))}='):
        wrapped('VPTModel', **options)


def test_merging_is_refused_with_the_reason():
    with pytest.raises(ValueError, match='prompts are tokens'):
        build().merge()

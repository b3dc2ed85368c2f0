"""Attention in bfloat16 on a CPU."""

from contextlib import contextmanager

import pytest
import timm
import torch
from mmpretrain.models import VisionTransformer
from torch.nn.functional import scaled_dot_product_attention

import mmdmlora
from mmdmlora.apis.benchmark.steps import OperationCount
from mmdmlora.models.cpu_attention import CPUAttention, centered_attention, softmax


@contextmanager
def in_bfloat16():
    with torch.autocast('cpu', torch.bfloat16), CPUAttention():
        yield


def with_gradients(function, tensors):
    tensors = [tensor.clone().requires_grad_() for tensor in tensors]
    output = function(*tensors)
    output.float().square().sum().backward()
    return [output, *(tensor.grad for tensor in tensors)]


@pytest.mark.parametrize('kind', ['bool', 'bfloat16'])
def test_attention_with_a_mask_is_computed_in_single_precision(kind):
    torch.manual_seed(0)
    masks = dict(
        bool=torch.rand(5, 5) > 0.3,
        bfloat16=torch.randn(5, 5).bfloat16(),
    )
    mask = masks[kind]

    def ours(*tensors):
        with in_bfloat16():
            return scaled_dot_product_attention(*tensors, attn_mask=mask)

    def single(*tensors):
        single_mask = mask.float() if kind == 'bfloat16' else mask
        tensors = [tensor.float() for tensor in tensors]
        return scaled_dot_product_attention(*tensors, attn_mask=single_mask).bfloat16()

    tensors = [torch.randn(2, 3, 5, 4).bfloat16() for _ in 'qkv']
    pairs = zip(
        with_gradients(ours, tensors), with_gradients(single, tensors), strict=True
    )
    for got, exact in pairs:
        assert got.dtype == torch.bfloat16
        assert torch.equal(got, exact)


@pytest.mark.parametrize(
    ('keys', 'options'),
    [(5, dict(is_causal=True)), (5, dict(enable_gqa=True)), (8 * 4 + 1, {})],
)
def test_other_attention_is_computed_in_single_precision(keys, options):
    torch.manual_seed(0)
    q = torch.randn(1, 2, 5, 4).bfloat16()
    k, v = (torch.randn(1, 2, keys, 4).bfloat16() for _ in 'kv')
    with in_bfloat16():
        got = scaled_dot_product_attention(q, k, v, **options)
    exact = scaled_dot_product_attention(q.float(), k.float(), v.float(), **options)
    assert torch.equal(got, exact.bfloat16())


def test_attention_with_dropout_drops():
    torch.manual_seed(0)
    q = torch.randn(1, 2, 5, 4).bfloat16()
    with in_bfloat16():
        assert not scaled_dot_product_attention(q, q, q, None, 1.0).any()


def test_names_of_arguments_may_be_given():
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 3, 4).bfloat16() for _ in 'qkv')
    with in_bfloat16():
        got = scaled_dot_product_attention(query=q, key=k, value=v, scale=0.3)
    exact = scaled_dot_product_attention(q.float(), k.float(), v.float(), scale=0.3)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, exact.bfloat16(), rtol=0.02, atol=0.02)


def keys_with_a_common_part():
    """Queries, keys and values; the keys share a part that is larger than the rest."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 17, 16).bfloat16() for _ in 'qkv')
    return q, (k + 8 * torch.randn(16)).bfloat16(), v


def explicit_attention(q, k, v):
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1) @ v


def test_centering_changes_neither_attention_nor_gradients():
    tensors = [tensor.double() for tensor in keys_with_a_common_part()]
    found = with_gradients(centered_attention, tensors)
    expected = with_gradients(explicit_attention, tensors)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_centering_spares_rounding_errors():
    tensors = keys_with_a_common_part()
    exact = with_gradients(explicit_attention, [tensor.double() for tensor in tensors])

    def errors(function):
        found = with_gradients(function, tensors)
        return [
            float((a - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True)
        ]

    with in_bfloat16():
        centered = errors(scaled_dot_product_attention)
    with torch.autocast('cpu', torch.bfloat16):
        fused = errors(scaled_dot_product_attention)
    plain = errors(explicit_attention)
    for mine, pytorch, naive in zip(centered, fused, plain, strict=True):
        assert mine < 0.5 * naive
        assert mine < 3 * pytorch


def test_single_precision_is_left_alone():
    q = torch.randn(1, 2, 3, 4)
    with torch.autocast('cpu', enabled=False), CPUAttention():
        got = scaled_dot_product_attention(q, q, q)
    assert torch.equal(got, scaled_dot_product_attention(q, q, q))


@pytest.mark.parametrize('keys', [1, 15, 16, 26, 31, 32])
def test_the_softmax_of_short_rows(keys):
    """Rounded once, and its gradient as exact as PyTorch's."""
    torch.manual_seed(0)
    scores = (4 * torch.randn(3, 5, keys)).bfloat16()

    def plain(scores):
        return scores.softmax(-1)

    got, exact, pytorch = (
        with_gradients(function, [tensor])
        for function, tensor in (
            (softmax, scores),
            (plain, scores.double()),
            (plain, scores),
        )
    )
    assert [tensor.dtype for tensor in got] == 2 * [torch.bfloat16]
    torch.testing.assert_close(got[0], exact[0].bfloat16(), rtol=0, atol=0)
    is_short = got[0].grad_fn.name() == '_ShortSoftmaxBackward'
    assert is_short == (16 <= keys < 32)
    for mine, right, other in zip(got, exact, pytorch, strict=True):
        assert (mine - right).norm() <= 1.01 * (other - right).norm()
    single = scores.float().requires_grad_()
    assert torch.equal(softmax(single), single.softmax(-1))


def backbone_of(library):
    if library == 'timm':
        size = dict(embed_dim=16, depth=2, num_heads=2, img_size=8, patch_size=4)
        return timm.create_model('vit_tiny_patch16_224', pretrained=False, **size)
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
    return VisionTransformer(arch, img_size=8, patch_size=4)


@pytest.mark.parametrize('frozen_dtype', [None, 'bfloat16'])
@pytest.mark.parametrize('library', ['mmpretrain', 'timm'])
def test_wrappers_have_it_in_training(library, frozen_dtype):
    """Under plain autocast, too. mmpretrain's layers call it; timm's need the mode."""
    model = mmdmlora.wrap(backbone_of(library), 'lora', frozen_dtype=frozen_dtype)
    layer = next(m for m in model.modules() if isinstance(m, torch.nn.LayerNorm))
    modes = []
    layer.register_forward_hook(
        lambda *_: modes.append(torch.overrides._len_torch_function_stack())
    )
    images = torch.randn(2, 3, 8, 8)

    def counts_pytorchs(dtype):
        with OperationCount() as counted, torch.autocast('cpu', dtype, bool(dtype)):
            model(images)
        return any('scaled_dot_product' in name for name in counted.by_name)

    assert not counts_pytorchs(torch.bfloat16)
    assert modes == [int(library == 'timm')]
    if frozen_dtype is None:
        assert counts_pytorchs(None)
        assert modes[-1] == 0
    model.eval()
    assert counts_pytorchs(torch.bfloat16)
    assert modes[-1] == 0

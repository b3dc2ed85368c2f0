"""nn.DataParallel: a method works exactly in replicas, or refuses in words."""

import copy

import pytest
import torch
from torch.nn.parallel import DataParallel

from tests.tiny import features, images, wrapped

EXACT = {
    'RepAdapterModel': dict(dim=2, drop_rate=0.0),
    'AdapterModel': dict(dim=2),
    'BitFitModel': {},
    'LinearProbeModel': {},
    'FullFinetuneModel': {},
}
REFUSED = {
    'LoRAModel': dict(rank=2),
    'DMLoRAModel': dict(rank=2, num_branches=2),
    'VPTModel': dict(num_tokens=2),
}
BACKBONES = pytest.mark.parametrize('backbone', ['vit', 'swin', 'timm'])


def replica(model):
    """A copy as nn.DataParallel makes it, with the model's own tensors."""
    modules = list(model.modules())
    place = {id(module): index for index, module in enumerate(modules)}
    copies = [module._replicate_for_data_parallel() for module in modules]
    for module, copied in zip(modules, copies, strict=True):
        copied._former_parameters = {}
        for name, child in module._modules.items():
            copied._modules[name] = child and copies[place[id(child)]]
        for name, parameter in module._parameters.items():
            if parameter is None:
                copied._parameters[name] = None
            else:
                setattr(copied, name, parameter.view_as(parameter))
                copied._former_parameters[name] = parameter
    return copies[0]


def randomized(method, backbone, options):
    model = wrapped(method, backbone, **options)
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.normal_(std=0.3)
    return model


@BACKBONES
@pytest.mark.parametrize('method', EXACT)
def test_replicas_are_exact(method, backbone):
    model = randomized(method, backbone, EXACT[method]).train()
    whole = copy.deepcopy(model)
    x = images(4)
    expected = features(whole, x)
    got = torch.cat([features(replica(model), half) for half in x.chunk(2)])
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    if not expected.requires_grad:
        assert method == 'LinearProbeModel'
        return
    noise = torch.randn(expected.shape)
    (expected * noise).sum().backward()
    (got * noise).sum().backward()
    for (name, one), other in zip(
        model.named_parameters(), whole.parameters(), strict=True
    ):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-4)


def test_replicas_with_frozen_weights_in_bfloat16():
    model = randomized('BitFitModel', 'vit', dict(frozen_dtype='bfloat16'))
    x = images(4)
    assert torch.equal(features(replica(model), x), features(model, x))


@BACKBONES
@pytest.mark.parametrize('method', REFUSED)
@pytest.mark.parametrize('mode', [True, False])
def test_others_refuse_in_words(method, backbone, mode):
    model = randomized(method, backbone, REFUSED[method]).train(mode)
    model(images())
    message = f'{method} does not work in nn.DataParallel: .* Use DistributedDataParallel'
    for _ in range(2):
        with pytest.raises(RuntimeError, match=message):
            replica(model)(images())
    model(images())


@pytest.mark.parametrize('method', [*EXACT, *REFUSED])
def test_one_device_makes_no_replica(method):
    options = {**EXACT, **REFUSED}[method]
    model = randomized(method, 'vit', options).eval()
    got = features(DataParallel(model), images())
    assert torch.equal(got, features(model, images()))

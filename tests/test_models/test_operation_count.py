"""What a training step costs, in counts that no machine changes."""

import copy

import pytest
import torch
from torch import Tensor, nn

from mmdmlora.apis.benchmark.steps import OperationCount
from mmdmlora.registry import MODELS

VIT = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=192, num_layers=12, num_heads=3, feedforward_channels=768),
    img_size=32,
    patch_size=16,
)
STOCK = dict(type='mmpretrain.LoRAModel', rank=8, alpha=8, targets=[dict(type='.*qkv')])


def build(config: dict) -> nn.Module:
    torch.manual_seed(0)
    return MODELS.build(dict(copy.deepcopy(config), module=copy.deepcopy(VIT))).train()


def low_rank(method: str, **options) -> dict:
    return dict(type=f'mmdmlora.{method}', rank=8, **options)


def loss_of(model: nn.Module) -> Tensor:
    return model(torch.ones(2, 3, 32, 32))[-1].square().mean()


def operations(config: dict) -> int:
    """Those of a step with AdamW, once all states of the optimizer exist."""
    model = build(config)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, foreach=True)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    with OperationCount() as counted:
        loss_of(model).backward()
        optimizer.step()
    return counted.count


def bytes_for_backward(config: dict) -> int:
    """What autograd keeps beside the parameters."""
    model = build(config)
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(model)
    assert loss.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize('learn_scale', [False, True])
@pytest.mark.parametrize('num_branches', [2, 4, 8, 16])
def test_a_step_costs_what_loras_does(num_branches, learn_scale):
    lora = operations(low_rank('LoRAModel', learn_scale=learn_scale))
    options = dict(num_branches=num_branches, learn_scale=learn_scale)
    assert operations(low_rank('DMLoRAModel', **options)) <= 1.02 * lora


def test_lora_costs_little_more_than_mmpretrains():
    """Which has one update for the whole qkv, not one for q and one for v."""
    assert operations(low_rank('LoRAModel')) <= 1.2 * operations(STOCK)


@pytest.mark.parametrize('method', ['LoRAModel', 'DMLoRAModel'])
def test_backward_keeps_no_more_than_mmpretrains(method):
    assert bytes_for_backward(low_rank(method)) <= 1.01 * bytes_for_backward(STOCK)

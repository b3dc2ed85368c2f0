"""What is drawn decides what is trained, whatever happens around a forward."""

import copy
import gc

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmdmlora.models import DMLoRAModel
from tests.single_process_group import single_process_group
from tests.tiny import (
    VIT,
    drawn_parameters,
    features,
    images,
    loss_of,
    paths_of,
    randomize,
    wrapped,
)

MODES = ('batch', 'sample')


def build(draws: str = 'batch', backbone: str = 'vit', **options) -> DMLoRAModel:
    model = wrapped(
        'DMLoRAModel', backbone, draws=draws, **{'num_branches': 4, 'rank': 2, **options}
    )
    randomize(model)
    return model.train()


def trained(model: nn.Module) -> dict[str, torch.Tensor]:
    named = model.named_parameters()
    return {n: p.detach().clone() for n, p in named if p.requires_grad}


def moved(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {n for n, t in trained(model).items() if not torch.equal(t, before[n])}


def adamw(model: nn.Module, **options) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        model.trainable_parameters(), lr=0.1, weight_decay=0.1, **options
    )


def check_steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, forward: nn.Module | None = None
) -> None:
    """Steps move what was drawn and nothing else."""
    for step in range(4):
        before = trained(model)
        optimizer.zero_grad()
        loss_of(forward or model, images(seed=step)).backward()
        optimizer.step()
        assert moved(model, before) == drawn_parameters(model)


@pytest.mark.parametrize('draws', MODES)
def test_two_forwards_before_one_backward_train_both_draws(draws):
    model = build(draws)
    optimizer = adamw(model)
    for step in range(3):
        before, expected = trained(model), set()
        losses = []
        for view in range(2):
            losses.append(loss_of(model, images(seed=2 * step + view)))
            expected |= drawn_parameters(model)
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
        assert moved(model, before) == expected


def test_training_in_evaluation_mode_trains_all_active_branches():
    model = build()
    model.prune_branches(1)
    optimizer = adamw(model)
    loss_of(model, images()).backward()
    optimizer.step()
    for _ in range(2):
        model.eval()
        before = trained(model)
        optimizer.zero_grad()
        loss_of(model, images()).backward()
        optimizer.step()
        assert len(moved(model, before)) == len(before) * 3 // 4


@pytest.mark.parametrize('draws', MODES)
@pytest.mark.parametrize('clears_first', [True, False])
@pytest.mark.parametrize('accumulates', [1, 2])
def test_gradients_cleared_to_zeros_leave_other_branches_alone(
    draws, clears_first, accumulates
):
    model = build(draws)
    optimizer = adamw(model)
    for step in range(6):
        before, expected = trained(model), set()
        for micro in range(accumulates):
            if clears_first and micro == 0:
                optimizer.zero_grad(set_to_none=False)
            loss = loss_of(model, images(seed=step + micro))
            if not clears_first and micro == 0:
                optimizer.zero_grad(set_to_none=False)
            loss.backward()
            expected |= drawn_parameters(model)
        optimizer.step()
        assert moved(model, before) == expected


@pytest.mark.parametrize('draws', MODES)
@pytest.mark.parametrize('to_none', [True, False])
def test_zero_gradients_of_drawn_branches_are_kept_while_accumulating(draws, to_none):
    """At the start all up branches are zero, and so is each down branch's gradient."""
    model = wrapped('DMLoRAModel', draws=draws, num_branches=4, rank=2).train()
    for step in range(3):
        model.zero_grad(set_to_none=to_none)
        expected = set()
        for micro in range(3):
            loss_of(model, images(seed=3 * step + micro)).backward()
            expected |= drawn_parameters(model)
        with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
        assert with_gradient == expected
        named = model.named_parameters()
        assert not any(p.grad.any() for n, p in named if '.down' in n and n in expected)


@pytest.mark.parametrize('draws', MODES)
def test_steps_leave_no_parameters_behind(draws):
    model = build(draws)
    optimizer = adamw(model)

    def count() -> int:
        for step in range(25):
            optimizer.zero_grad()
            loss_of(model, images(seed=step)).backward()
            optimizer.step()
        gc.collect()
        return sum(isinstance(each, nn.Parameter) for each in gc.get_objects())

    assert count() == count()


def test_lbfgs_moves_what_its_closures_drew():
    model = build(num_branches=8)
    optimizer = torch.optim.LBFGS(model.trainable_parameters(), lr=0.1, max_iter=3)
    before, expected = trained(model), set()

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, images())
        expected.update(drawn_parameters(model))
        loss.backward()
        return loss

    with model.fixed_draws():
        optimizer.step(closure)
    assert moved(model, before) == expected
    assert len(expected) == 2 * len(model.adapters)


def sharpness_aware_step(model: DMLoRAModel, optimizer: torch.optim.Optimizer) -> None:
    """SAM (arXiv:2010.01412): the gradient is taken at the worst point nearby."""
    optimizer.zero_grad()
    loss_of(model, images()).backward()
    moves = {p: 0.05 * p.grad for p in model.trainable_parameters() if p.grad is not None}
    with torch.no_grad():
        for parameter, move in moves.items():
            parameter.add_(move)
    optimizer.zero_grad()
    loss_of(model, images()).backward()
    with torch.no_grad():
        for parameter, move in moves.items():
            parameter.sub_(move)
    optimizer.step()


def test_a_sharpness_aware_step_uses_one_draw():
    model = build(num_branches=8)
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=1.0)
    for _ in range(3):
        before = trained(model)
        with model.fixed_draws():
            sharpness_aware_step(model, optimizer)
        changed = {
            n for n, t in trained(model).items() if (t - before[n]).abs().max() > 1e-6
        }
        assert changed == drawn_parameters(model)


def test_draws_go_on_behind_fixed_draws():
    model, twin = build(), build()
    with model.fixed_draws():
        for _ in range(3):
            model(images())
    twin(images())
    assert model.draws.drawn() == twin.draws.drawn()
    model(images())
    twin(images())
    assert model.draws.drawn() == twin.draws.drawn()


def test_zero_redundancy_optimizer_skips_what_was_not_drawn(tmp_path):
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = build()
    with single_process_group(tmp_path):
        optimizer = ZeroRedundancyOptimizer(
            model.trainable_parameters(), torch.optim.AdamW, lr=0.1, weight_decay=0.1
        )
        check_steps(model, optimizer)


def test_a_gradient_scaler_that_skips_a_step_moves_nothing():
    model = build()
    optimizer = adamw(model)
    scaler = torch.amp.GradScaler('cpu', init_scale=1.0)
    for step in range(4):
        before = trained(model)
        optimizer.zero_grad()
        overflows = step == 1
        loss = loss_of(model, images(seed=step)) * (float('inf') if overflows else 1)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        assert moved(model, before) == (set() if overflows else drawn_parameters(model))


@pytest.mark.parametrize('draws', MODES)
@pytest.mark.parametrize('use_reentrant', [False, True])
@pytest.mark.parametrize('whole', [False, True])
def test_recomputed_forwards_use_their_own_draws(draws, whole, use_reentrant):
    """Also with several forwards before one backward, in any order."""

    def gradients(recompute: bool) -> dict[str, torch.Tensor]:
        model = build(draws)
        for module in [model] if whole else model.module.layers:
            if recompute:
                inner = module.forward
                module.forward = lambda *a, f=inner: checkpoint(
                    f, *a, use_reentrant=use_reentrant
                )
        loss = 0
        for view in range(3):
            x = images(seed=view).requires_grad_()
            loss = loss + (view + 1) * loss_of(model, x)
        loss.backward()
        loss_of(model, images(seed=9).requires_grad_()).backward()
        return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}

    plain, recomputed = gradients(False), gradients(True)
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient)


def test_a_region_with_more_behind_the_wrapper_recomputes_its_draws():
    def gradients(recompute: bool) -> dict[str, torch.Tensor]:
        model = build()

        def region(x):
            return loss_of(model, x).exp()

        losses = [
            checkpoint(region, images(seed=s), use_reentrant=False)
            if recompute
            else region(images(seed=s))
            for s in range(3)
        ]
        sum(losses).backward()
        return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}

    plain, recomputed = gradients(False), gradients(True)
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient)


def test_a_region_that_runs_the_wrapper_twice_is_refused():
    model = build()

    def region(x):
        return loss_of(model, x) + loss_of(model, 2 * x)

    loss = checkpoint(region, images().requires_grad_(), use_reentrant=True)
    with pytest.raises(RuntimeError, match='checkpoint each call by itself'):
        loss.backward()


def test_a_recomputation_of_a_forgotten_forward_is_refused():
    model = build(num_branches=2)
    layer = model.module.layers[0]
    inner = layer.forward
    layer.forward = lambda *a: checkpoint(inner, *a, use_reentrant=False)
    loss = loss_of(model, images())
    with torch.no_grad():
        for _ in range(70):
            model(images())
    with pytest.raises(RuntimeError, match='call backward earlier'):
        loss.backward()


def test_wrappers_of_one_model_draw_differently():
    torch.manual_seed(0)
    seeds = {int(DMLoRAModel(copy.deepcopy(VIT), rank=2).draws.seed) for _ in range(3)}
    assert len(seeds) == 3
    assert int(build().draws.seed) == int(build().draws.seed), 'follows from the seed'


def test_a_shared_layer_that_runs_twice_uses_one_draw():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def init_weights(self):
            pass

        def forward(self, x):
            return (self.layer(torch.tanh(self.layer(x))),)

    torch.manual_seed(0)
    model = DMLoRAModel(
        dict(type=Twice), rank=2, num_branches=3, targets=[dict(type='layer')]
    )
    randomize(model)
    model.train()
    x = torch.randn(4, 6)
    out = model(x)[0]
    ((i, j),) = model.draws.drawn()['layer']
    adapter, layer = model.adapters['layer'], model.module.layer.original
    weight = layer.weight + adapter.up[j] @ adapter.down[i]
    expected = torch.tanh(x @ weight.T + layer.bias) @ weight.T + layer.bias
    torch.testing.assert_close(out, expected)
    out.square().sum().backward()
    grads = {n for n, p in model.named_parameters() if p.grad is not None}
    assert grads == drawn_parameters(model)


def test_calls_past_the_wrapper_are_refused_in_training_alone():
    model = build(backbone='timm')
    x = images()
    for call in (model.module, model.module.timm_model.forward_features):
        with pytest.raises(RuntimeError, match='call the wrapper'):
            call(x)
    model.eval()
    torch.testing.assert_close(model.module(x)[0], model(x)[0])


def test_methods_of_the_backbone_draw_anew():
    """As timm's ``forward_features``, reached through the wrapper."""

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def init_weights(self):
            pass

        def forward_features(self, x):
            return self.layer(x)

        def describe(self):
            return 'a backbone'

        def forward(self, x):
            return (self.forward_features(x),)

    torch.manual_seed(0)
    model = DMLoRAModel(
        dict(type=Backbone), rank=2, num_branches=4, targets=[dict(type='layer')]
    )
    randomize(model)
    model.train()
    twin, x = copy.deepcopy(model), torch.randn(4, 6)
    for _ in range(5):
        assert model.describe() == 'a backbone'
        model.zero_grad()
        model.forward_features(x).square().sum().backward()
        twin(x)
        assert model.draws.drawn() == twin.draws.drawn()
        grads = {n for n, p in model.named_parameters() if p.grad is not None}
        assert grads == drawn_parameters(model)


def test_held_parameters_do_not_count_in_clipping():
    model = build(learn_scale=True)
    loss_of(model, images()).backward()
    model.set_trained(branches=True, scales=False)
    held = model.scale_parameters()
    assert all(p.grad is None for p in held)
    model.zero_grad()
    loss_of(model, images()).backward()
    assert all(p.grad is None for p in held)
    model.set_trained(branches=False, scales=True)
    model.zero_grad()
    loss_of(model, images()).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.trainable_parameters(), 1e9)
    expected = torch.stack([p.grad for p in held]).norm()
    torch.testing.assert_close(norm, expected)


@pytest.mark.parametrize(
    'write',
    [
        lambda model, other: model.draws.load_state_dict(other.draws.state_dict()),
        lambda model, other: model.load_state_dict(other.state_dict()),
        lambda model, other: [
            mine.copy_(new)
            for mine, new in zip(model.buffers(), other.buffers(), strict=True)
        ],
        lambda model, other: (
            [
                mine.data.copy_(new)
                for mine, new in zip(model.buffers(), other.buffers(), strict=True)
            ],
            model.train(),
        ),
        lambda model, other: [
            mine.data.copy_(new)
            for mine, new in zip(model.buffers(), other.buffers(), strict=True)
        ],
    ],
    ids=['part', 'whole', 'in place', 'as averages are swapped', 'past the counter'],
)
def test_the_host_never_knows_an_old_state(write):
    model = build()
    other = copy.deepcopy(model)
    other.draws.seed += 1
    model(images())
    for _ in range(3):
        other(images())
    other.prune_branches(2)
    write(model, other)
    assert model.num_branches == 2
    for name, adapter in model.adapters.items():
        assert adapter.active() == other.adapters[name].active()
    for _ in range(4):
        model(images())
        other(images())
        assert model.draws.drawn() == other.draws.drawn()


def test_a_copy_in_another_type_draws_alike():
    model = build()
    model(images())
    twin = copy.deepcopy(model).double()
    for _ in range(3):
        model(images())
        twin(images().double())
        assert model.draws.drawn() == twin.draws.drawn()


@pytest.mark.parametrize('draws', MODES)
def test_compiles_once_and_once_more_after_a_pruning(draws):
    model = build(draws, 'timm')
    plain = copy.deepcopy(model)
    graphs = []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    model.module = torch.compile(model.module, backend=backend, fullgraph=True)
    for limit in (1, 2):
        for step in range(12):
            out = model(images(seed=step))[0]
            torch.testing.assert_close(out, plain(images(seed=step))[0])
            assert model.draws.drawn() == plain.draws.drawn()
        assert len(graphs) <= limit
        model.prune_branches(1)
        plain.prune_branches(1)


def test_data_parallel_is_refused():
    model = build()
    model._is_replica = True
    with pytest.raises(RuntimeError, match='DistributedDataParallel'):
        model(images())


def test_distributed_training_without_the_setting_is_refused(tmp_path):
    from torch.nn.parallel import DistributedDataParallel

    model = build()
    with single_process_group(tmp_path):
        with pytest.raises(RuntimeError, match='find_unused_parameters=True'):
            DistributedDataParallel(model)(images())
        parallel = DistributedDataParallel(model, find_unused_parameters=True)
        optimizer = adamw(model)
        check_steps(model, optimizer, parallel)


def test_sharded_layers_are_refused(tmp_path):
    from torch.distributed.fsdp import fully_shard

    model = build()
    with single_process_group(tmp_path):
        for layer in model.module.layers:
            fully_shard(layer)
        with pytest.raises(RuntimeError, match='FSDP'):
            model(images())


def test_sharding_the_whole_trains_what_was_drawn(tmp_path):
    from torch.distributed.fsdp import fully_shard

    model = build()
    with single_process_group(tmp_path):
        fully_shard(model)
        optimizer = adamw(model)
        for step in range(4):
            before = {n: p.full_tensor().clone() for n, p in model.named_parameters()}
            optimizer.zero_grad()
            loss_of(model, images(seed=step)).backward()
            optimizer.step()
            after = {n: p.full_tensor() for n, p in model.named_parameters()}
            changed = {n for n, t in after.items() if not torch.equal(t, before[n])}
            assert len(changed) == 2 * len(model.adapters)


@pytest.mark.parametrize('backbone', ['vit', 'swin', 'convnext', 'convnext_conv'])
def test_each_image_has_the_output_of_its_own_pairs(backbone):
    model = build('sample', backbone)
    x = images(batch=5)
    with torch.no_grad():
        out = features(model, x)
        pairs = model.draws.drawn()
        assert len({str(p) for p in zip(*pairs.values(), strict=True)}) == 5
        twin = build('batch', backbone)
        for image in range(5):
            chosen = [
                paths_of(
                    layer,
                    {
                        part: pairs[name if part == 'all' else f'{name}.{part}'][image]
                        for part in layer.adapters
                    },
                )
                for name, layer in twin.draws.layers.items()
            ]
            twin.draws._choose = lambda count, paths=chosen: paths
            alone = features(twin, x[image : image + 1])
            torch.testing.assert_close(out[image : image + 1], alone)


def test_per_image_draws_are_uniform_and_independent():
    from mmdmlora.models.drawing import draw_numbers

    numbers = draw_numbers(0, 0, 'layer', 64_000).reshape(2, -1) % 4
    counts = torch.zeros(4, 4)
    for i, j in numbers.T.tolist():
        counts[i, j] += 1
    expected = numbers.shape[1] / 16
    assert ((counts - expected) ** 2 / expected).sum() < 37.70  # chi-square, p = 0.001


def test_branches_that_no_image_drew_are_untouched():
    model = build('sample', num_branches=8)
    optimizer = adamw(model)
    for step in range(6):
        before = trained(model)
        optimizer.zero_grad()
        loss_of(model, images(batch=3, seed=step)).backward()
        optimizer.step()
        expected = drawn_parameters(model)
        assert moved(model, before) == expected
        assert len(expected) < len(before)


def test_a_layer_that_mixes_images_is_refused():
    class TokensFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def init_weights(self):
            pass

        def forward(self, x):
            return (self.layer(x.transpose(0, 1)),)

    model = DMLoRAModel(
        dict(type=TokensFirst), rank=2, draws='sample', targets=[dict(type='layer')]
    )
    with pytest.raises(ValueError, match="draws='batch'"):
        model.train()(torch.randn(4, 7, 6))


def test_unknown_draws_are_refused():
    with pytest.raises(ValueError, match="draws='image'"):
        build('image')


@pytest.mark.parametrize('criterion', ['random', 'norm', 'merge'])
def test_averages_drop_the_same_branches(criterion):
    model = build()
    average = copy.deepcopy(model)
    randomize(average, seed=7)
    model.eval()
    average.eval()
    before = features(model, images()), features(average, images())
    model.prune_branches(2, criterion, averages=[average])
    after = features(model, images()), features(average, images())
    for name, adapter in model.adapters.items():
        assert adapter.active() == average.adapters[name].active()
    if criterion == 'merge':
        for old, new in zip(before, after, strict=True):
            torch.testing.assert_close(old, new)


def test_averages_of_another_model_are_refused():
    with pytest.raises(ValueError, match='copies'):
        build().prune_branches(1, averages=[build(backbone='swin')])


def test_torch_averages_follow_the_pruning():
    """AveragedModel copies buffers: what is active is among them."""
    from torch.optim.swa_utils import AveragedModel

    model = build()
    average = AveragedModel(model)
    model.prune_branches(2)
    average.update_parameters(model)
    assert average.module.num_branches == 2

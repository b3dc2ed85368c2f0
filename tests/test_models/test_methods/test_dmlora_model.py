"""DMLoRA: draws, steps that leave branches alone, pruning."""

import copy
from collections import Counter

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from mmdmlora.models.drawing import draw_pair
from tests.tiny import (
    drawn_parameters,
    features,
    images,
    loss_of,
    randomize,
    train_steps,
    wrapped,
)

QUANTILE = {8: 26.12, 15: 37.70}  # chi-square, p = 0.001, by degrees of freedom


def chi_square(counts: Counter, cells: int) -> float:
    expected = sum(counts.values()) / cells
    assert len(counts) == cells
    return sum((n - expected) ** 2 / expected for n in counts.values())


def drawn(model) -> list[tuple[int, int]]:
    return [pair for pairs in model.draws.drawn().values() for pair in pairs]


def branches(model) -> dict[str, torch.Tensor]:
    return {
        n: p.detach().clone()
        for n, p in model.named_parameters()
        if '.down.' in n or '.up.' in n
    }


def test_pairs_are_uniform():
    counts = Counter(draw_pair(3, s, 'layer', range(3), range(3)) for s in range(9000))
    assert chi_square(counts, 9) < QUANTILE[8]


def test_down_and_up_and_layers_are_independent():
    def joint(step):
        one = draw_pair(0, step, 'layers.0.attn.qkv.q', (0, 1), (0, 1))
        other = draw_pair(0, step, 'layers.0.attn.qkv.v', (0, 1), (0, 1))
        return one + other

    counts = Counter(joint(s) for s in range(8000))
    assert chi_square(counts, 16) < QUANTILE[15]


def test_successive_steps_are_independent():
    first = [draw_pair(0, s, 'x', range(4), [0])[0] for s in range(8001)]
    counts = Counter(zip(first[:-1], first[1:], strict=True))
    assert chi_square(counts, 16) < QUANTILE[15]


def test_output_in_training_is_that_of_the_drawn_pairs():
    model = wrapped('DMLoRAModel', num_branches=3, rank=2)
    randomize(model)
    model.train()
    out = features(model, images())
    single = wrapped('LoRAModel', rank=2)
    for name, plain in single.adapters.items():
        adapter = model.adapters[name]
        ((i, j),) = model.draws.drawn()[name]
        plain.down[0].data.copy_(adapter.down[i])
        plain.up[0].data.copy_(adapter.up[j])
    torch.testing.assert_close(out, features(single, images()))


def test_draws_follow_from_seed_step_and_layer_alone():
    plain, noisy = (wrapped('DMLoRAModel', num_branches=4, rank=2) for _ in range(2))
    for model in (plain, noisy):
        model.train()
    sequence = []
    for _ in range(6):
        plain(images())
        torch.rand(1000)
        noisy.eval()
        noisy(images())
        noisy.train()
        noisy(images())
        assert drawn(plain) == drawn(noisy)
        sequence.append(drawn(plain))
    assert len({tuple(d) for d in sequence}) > 1
    other = wrapped('DMLoRAModel', num_branches=4, rank=2, seed=1)
    other.train()
    others = []
    for _ in range(6):
        other(images())
        others.append(drawn(other))
    assert others != sequence


def test_draws_go_on_after_loading():
    model = wrapped('DMLoRAModel', num_branches=4, rank=2)
    model.train()
    for _ in range(5):
        model(images())
    state = copy.deepcopy(model.state_dict())
    expected = []
    for _ in range(5):
        model(images())
        expected.append(drawn(model))
    resumed = wrapped('DMLoRAModel', num_branches=4, rank=2)
    resumed.train()
    resumed(images())
    resumed.load_state_dict(state)
    got = []
    for _ in range(5):
        resumed(images())
        got.append(drawn(resumed))
    assert got == expected


@pytest.mark.parametrize('optimizer', ['AdamW', 'SGD'])
def test_branches_not_drawn_are_untouched(optimizer):
    """Bit for bit, also once momentum and weight decay would move them."""
    model = wrapped('DMLoRAModel', num_branches=3, rank=2)
    options = dict(momentum=0.9) if optimizer == 'SGD' else {}
    optim = getattr(torch.optim, optimizer)(
        model.trainable_parameters(), lr=0.1, weight_decay=0.1, **options
    )
    model.train()
    for step in range(12):
        before = branches(model)
        states = copy.deepcopy(
            {n: dict(optim.state[p]) for n, p in model.named_parameters()}
        )
        optim.zero_grad()
        loss_of(model, images(seed=step)).backward()
        optim.step()
        chosen = drawn_parameters(model)
        for name, value in branches(model).items():
            assert (name in chosen) or torch.equal(value, before[name]), name
            state = optim.state[model.get_parameter(name)]
            if name not in chosen:
                for key, was in states[name].items():
                    assert torch.equal(torch.as_tensor(state[key]), torch.as_tensor(was))
        if step > 2:
            assert all(not torch.equal(branches(model)[n], before[n]) for n in chosen)


@pytest.mark.parametrize('by_name', [True, False])
def test_a_closure_leaves_undrawn_branches_untouched(by_name):
    """The gradients come into being inside of the step."""
    model = wrapped('DMLoRAModel', num_branches=4, rank=2)
    randomize(model)
    optim = torch.optim.AdamW(model.trainable_parameters(), lr=0.1, weight_decay=0.1)
    model.train()

    def closure():
        optim.zero_grad()
        loss = loss_of(model, images())
        loss.backward()
        return loss

    for _ in range(3):
        before = branches(model)
        loss = optim.step(closure=closure) if by_name else optim.step(closure)
        changed = {n for n, v in branches(model).items() if not torch.equal(v, before[n])}
        assert changed == drawn_parameters(model)
        assert loss > 0


def test_a_closure_may_leave_the_gradients_to_others():
    """As with accumulation before the step: what was drawn there is trained."""
    model = wrapped('DMLoRAModel', num_branches=4, rank=2)
    randomize(model)
    optim = torch.optim.AdamW(model.trainable_parameters(), lr=0.1)
    model.train()
    before = branches(model)
    loss_of(model, images()).backward()
    optim.step(lambda: 0.0)
    changed = {n for n, v in branches(model).items() if not torch.equal(v, before[n])}
    assert changed == drawn_parameters(model)


def test_gradient_accumulation_touches_the_union_of_draws():
    model = wrapped('DMLoRAModel', num_branches=4, rank=2)
    randomize(model)
    optim = torch.optim.AdamW(model.trainable_parameters(), lr=0.1)
    model.train()
    for _ in range(3):
        before, union = branches(model), set()
        for micro in range(2):
            loss_of(model, images(seed=micro)).backward()
            union |= drawn_parameters(model)
        optim.step()
        optim.zero_grad()
        changed = {n for n, v in branches(model).items() if not torch.equal(v, before[n])}
        assert changed == union


def test_a_skipped_step_does_not_leak_into_the_next():
    """As a gradient scaler does on overflow: gradients are cleared without a step."""
    model = wrapped('DMLoRAModel', num_branches=4, rank=2)
    randomize(model)
    optim = torch.optim.AdamW(model.trainable_parameters(), lr=0.1)
    model.train()
    loss_of(model, images()).backward()
    skipped = drawn_parameters(model)
    optim.zero_grad()
    before = branches(model)
    loss_of(model, images()).backward()
    optim.step()
    changed = {n for n, v in branches(model).items() if not torch.equal(v, before[n])}
    assert changed == drawn_parameters(model) != skipped


def test_forward_without_gradients_does_not_mark_branches():
    model = wrapped('DMLoRAModel', num_branches=4, rank=2)
    randomize(model)
    optim = torch.optim.AdamW(model.trainable_parameters(), lr=0.1, weight_decay=0.1)
    model.train()
    with torch.no_grad():
        model(images())
    before = branches(model)
    loss_of(model, images()).backward()
    optim.step()
    changed = {n for n, v in branches(model).items() if not torch.equal(v, before[n])}
    assert changed == drawn_parameters(model)


@pytest.mark.parametrize('use_reentrant', [False, True])
@pytest.mark.parametrize('whole', [False, True])
def test_recomputation_uses_the_same_branches(whole, use_reentrant):
    def gradients(recompute: bool):
        model = wrapped('DMLoRAModel', num_branches=4, rank=2)
        randomize(model)
        model.train()
        for module in [model] if whole else model.module.layers:
            if recompute:
                inner = module.forward
                module.forward = lambda *a, f=inner: checkpoint(
                    f, *a, use_reentrant=use_reentrant
                )
        x = images().requires_grad_()
        for _ in range(3):
            loss_of(model, x).backward()
        return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}

    plain, recomputed = gradients(False), gradients(True)
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient)


def test_compiles_to_one_graph_and_still_draws():
    # mmpretrain's own ViT breaks the graph: its drop path is a NumPy number.
    model = wrapped('DMLoRAModel', 'timm', num_branches=4, rank=2)
    randomize(model)
    plain = copy.deepcopy(model)
    graphs = []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    model.module = torch.compile(model.module, backend=backend, fullgraph=True)
    for module in (model, plain):
        module.train()
    seen = set()
    for step in range(6):
        out = model(images(seed=step))[0]
        torch.testing.assert_close(out, plain(images(seed=step))[0])
        seen.add(tuple(drawn(plain)))
    assert len(graphs) == 1
    assert len(seen) > 1


def test_a_copy_trains_by_the_same_rules():
    model = copy.deepcopy(wrapped('DMLoRAModel', num_branches=4, rank=2))
    randomize(model)
    optim = torch.optim.AdamW(model.trainable_parameters(), lr=0.1, weight_decay=0.1)
    model.train()
    before = branches(model)
    loss_of(model, images()).backward()
    optim.step()
    changed = {n for n, v in branches(model).items() if not torch.equal(v, before[n])}
    assert changed == drawn_parameters(model)


@pytest.mark.parametrize('criterion', ['random', 'norm', 'merge'])
def test_pruning_drops_from_every_layer_and_from_draws(criterion):
    model = wrapped('DMLoRAModel', num_branches=4, rank=2)
    randomize(model)
    model.prune_branches(2, criterion)
    assert model.num_branches == 2 and model.total_branches == 4
    for adapter in model.adapters.values():
        down, up = adapter.branches()
        assert down.shape == (2, 2, 24) and up.shape == (2, 24, 2)
    model.train()
    for _ in range(20):
        model(images(1))
        for name, adapter in model.adapters.items():
            down, up = adapter.active()
            assert all(i in down and j in up for i, j in model.draws.drawn()[name])


def test_norm_keeps_the_largest():
    model = wrapped('DMLoRAModel', num_branches=3, rank=2)
    adapter = next(iter(model.adapters.values()))
    with torch.no_grad():
        for branch, value in zip(adapter.down, (3.0, 1.0, 2.0), strict=True):
            branch.fill_(value)
        for branch, value in zip(adapter.up, (1.0, 2.0, 3.0), strict=True):
            branch.fill_(value)
    model.prune_branches(1, 'norm')
    assert adapter.active() == ([0, 2], [1, 2])


def test_merge_keeps_the_function():
    model = wrapped('DMLoRAModel', num_branches=5, rank=2)
    randomize(model)
    model.eval()
    with torch.no_grad():
        before = features(model, images())
        model.prune_branches(3, 'merge')
        torch.testing.assert_close(features(model, images()), before)
        model.prune_branches(1, 'random')
        assert (features(model, images()) - before).abs().max() > 1e-3


def test_random_pruning_follows_from_the_seed():
    def kept(seed):
        model = wrapped('DMLoRAModel', seed=seed, num_branches=8, rank=2)
        torch.rand(17)
        model.prune_branches(6)
        return [adapter.active() for adapter in model.adapters.values()]

    assert kept(0) == kept(0) != kept(1)
    assert len({str(pair) for pair in kept(0)}) > 1, 'layers drop different branches'


def test_pruned_branches_get_no_updates():
    model = wrapped('DMLoRAModel', num_branches=3, rank=2)
    model.prune_branches(2)
    before = branches(model)
    train_steps(model, 5, weight_decay=0.1)
    names = {id(p): n for n, p in model.named_parameters()}
    for adapter in model.adapters.values():
        down, up = adapter.active()
        for i in range(3):
            name = names[id(adapter.down[i])]
            assert (i in down) != torch.equal(before[name], branches(model)[name])


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(num=4), 'cannot drop 4 of 4'),
        (dict(num=3, min_branches=2), 'at most 2'),
        (dict(num=0), 'num=0'),
        (dict(num=1.5), 'num=1.5'),
        (dict(min_branches='2'), 'min_branches=2'),
        (dict(criterion='best'), "criterion='best'"),
    ],
)
def test_bad_pruning_is_refused(options, message):
    model = wrapped('DMLoRAModel', num_branches=4, rank=2)
    with pytest.raises(ValueError, match=message):
        model.prune_branches(**options)
    assert model.num_branches == 4


def test_layers_with_fewer_branches_stop_at_the_minimum():
    model = wrapped(
        'DMLoRAModel',
        rank=2,
        num_branches=4,
        targets=[
            dict(type='layers.0.attn.qkv', num_branches=2),
            dict(type='attn.qkv'),
        ],
    )
    model.prune_branches(3)
    assert [len(a.branches()[0]) for a in model.adapters.values()] == [1, 1]


def test_held_scales_and_branches_do_not_move():
    model = wrapped('DMLoRAModel', num_branches=2, rank=2, learn_scale=True)
    randomize(model)
    model.set_trained(branches=True, scales=False)
    scales, before = model.scales(), branches(model)
    train_steps(model, 4, weight_decay=0.1)
    assert model.scales() == scales
    assert any(not torch.equal(before[n], v) for n, v in branches(model).items())
    model.set_trained(branches=False, scales=True)
    before = branches(model)
    train_steps(model, 4, weight_decay=0.1)
    assert all(torch.equal(before[n], v) for n, v in branches(model).items())
    assert all(model.scales()[n] != s for n, s in scales.items())


def test_training_scales_that_are_fixed_is_refused():
    with pytest.raises(ValueError, match='learn_scale=True'):
        wrapped('DMLoRAModel', num_branches=2, rank=2).set_trained(True, True)

"""The consistency term between two draws: its value, its contracts, its merged form."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch.nn.functional import cross_entropy, kl_div
from torch.nn.parallel import DistributedDataParallel

from mmdmlora.apis import run as apis
from mmdmlora.engine.export import stock_config
from mmdmlora.models import ConsistencyClassifier, merge_model
from mmdmlora.models.consistency_classifier import symmetric_divergence
from mmdmlora.registry import MODELS
from tests.peft_runner import config as run_config
from tests.peft_runner import runner
from tests.single_process_group import single_process_group
from tests.tiny import classifier_config, drawn_parameters, images, randomize

DMLORA = dict(type='mmdmlora.DMLoRAModel', rank=2, num_branches=4, seed=3)
KIND = 'mmdmlora.ConsistencyClassifier'
LABELS = [0, 3, 1, 4]


def settings(wrapper=DMLORA, backbone='vit', **options):
    return dict(classifier_config(backbone, wrapper), type=KIND, **options)


def built(**options):
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(settings(**options)))
    randomize(model.backbone)
    torch.nn.init.normal_(model.head.fc.weight, std=0.5)
    return model.train()


def samples():
    return [DataSample().set_gt_label(label) for label in LABELS]


def losses_of(model):
    return model(images(4), samples(), mode='loss')


def scores_of_each_draw(model, times=2):
    """What a copy of the model gives in so many training forwards."""
    twin = copy.deepcopy(model)
    return [twin(images(4), mode='tensor') for _ in range(times)]


def assert_same_gradients(model, twin):
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad)


def by_hand(p, q):
    p, q = p.log_softmax(1), q.log_softmax(1)
    options = dict(reduction='batchmean', log_target=True)
    return (kl_div(q, p, **options) + kl_div(p, q, **options)) / 2


@pytest.mark.parametrize('draws', ['batch', 'sample'])
@pytest.mark.parametrize('weight', [1.0, 0.3])
@pytest.mark.parametrize('backbone', ['vit', 'swin', 'convnext'])
def test_loss_by_hand(draws, weight, backbone):
    wrapper = dict(DMLORA, draws=draws)
    model = built(wrapper=wrapper, backbone=backbone, consistency=weight)
    p, q = scores_of_each_draw(model)
    losses = losses_of(model)
    assert [*losses] == ['loss_cls', 'loss_consistency']
    labels = torch.tensor(LABELS)
    expected = (cross_entropy(p, labels) + cross_entropy(q, labels)) / 2
    torch.testing.assert_close(losses['loss_cls'], expected)
    torch.testing.assert_close(losses['loss_consistency'], weight * by_hand(p, q))
    assert losses['loss_consistency'] > 1e-4
    total, logged = model.parse_losses(losses)
    torch.testing.assert_close(total, expected + weight * by_hand(p, q))
    assert logged['loss'] == total


def test_divergence_of_given_distributions():
    p, q = (
        torch.tensor([[0.5, 0.5], [0.1, 0.9]]),
        torch.tensor([[0.25, 0.75], [0.1, 0.9]]),
    )
    # 1/2 * (1/4 ln 2 + 1/4 ln 3/2) = ln 3 / 8 for the first image, 0 for the second.
    expected = torch.tensor(3.0).log() / 16
    found = symmetric_divergence(p.log(), q.log())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(symmetric_divergence(q.log(), p.log() + 7), expected)
    assert symmetric_divergence(p, p) == 0
    wide = 50 * torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    assert symmetric_divergence(wide, -wide).isfinite()
    assert symmetric_divergence(p.bfloat16(), q.bfloat16()).dtype == torch.float32
    one, other = p.double().requires_grad_(), q.double().requires_grad_()
    assert torch.autograd.gradcheck(symmetric_divergence, (one, other))


@pytest.mark.parametrize('draws', ['batch', 'sample'])
def test_two_steps_of_draws_and_their_gradients(draws):
    model = built(wrapper=dict(DMLORA, draws=draws))
    twin, used = copy.deepcopy(model), set()
    for _ in range(2):
        twin.backbone(images(4))
        used |= drawn_parameters(twin.backbone)
    sum(losses_of(model).values()).backward()
    assert int(model.backbone.draws.step) == 2
    named = model.backbone.named_parameters()
    got = {n for n, p in named if p.grad is not None and '.adapters.' in n}
    assert {n for n in got if 'log_scale' not in n} == used


def test_accumulated_gradients_are_the_sum():
    model = built()
    twin = copy.deepcopy(model)
    for _ in range(2):
        sum(losses_of(model).values()).backward()
    (sum(losses_of(twin).values()) + sum(losses_of(twin).values())).backward()
    assert_same_gradients(model, twin)


def test_layers_that_backward_repeats_use_what_each_draw_had():
    model, twin = built(backbone='swin'), built(backbone='swin')
    for block in twin.backbone.stages[0].blocks:
        block.with_cp = True
    for each in (model, twin):
        sum(losses_of(each).values()).backward()
    assert_same_gradients(model, twin)


def test_fixed_draws_and_evaluation_leave_nothing_to_disagree_about():
    model = built()
    with model.backbone.fixed_draws():
        assert losses_of(model)['loss_consistency'] == 0
    assert losses_of(model)['loss_consistency'] > 0
    model.eval()
    assert losses_of(model)['loss_consistency'] == 0
    model.train()
    model.backbone.prune_branches(3)
    assert losses_of(model)['loss_consistency'] == 0


def test_distributed_training_finds_what_neither_draw_used(tmp_path):
    model = built()
    twin = copy.deepcopy(model)
    with single_process_group(tmp_path):
        parallel = DistributedDataParallel(model, find_unused_parameters=True)
        for _ in range(3):
            for each in (model, twin):
                each.zero_grad()
            sum(losses_of(twin).values()).backward()
            sum(losses_of(parallel).values()).backward()
            assert_same_gradients(model, twin)


def test_what_else_the_head_returns():
    config = settings()
    config['head']['cal_acc'] = True
    losses = losses_of(MODELS.build(config))
    assert [*losses] == ['loss_cls', 'loss_consistency', 'accuracy_top-1']


@pytest.mark.parametrize(
    'config, message',
    [
        (settings(None), 'VisionTransformer draws none: wrap the backbone with DMLoRA'),
        (settings(dict(DMLORA, num_branches=1)), 'DMLoRAModel draws none.*above 1'),
        (settings(dict(type='mmdmlora.LoRAModel')), 'LoRAModel draws none'),
        (settings(consistency=0), 'consistency=0 must be a number above 0'),
        (settings(consistency=-1.0), 'consistency=-1.0 must be'),
        (settings(consistency=True), 'consistency=True must be'),
        (settings(consistency='1'), "consistency='1' must be"),
        (settings(consistency=float('inf')), 'consistency=inf must be'),
        (
            dict(
                settings(),
                head=dict(
                    type='mmpretrain.MultiLabelLinearClsHead',
                    num_classes=5,
                    in_channels=24,
                ),
            ),
            'a MultiLabelLinearClsHead does not give: use a head for single labels',
        ),
        (dict(settings(), head=None), 'a NoneType does not give'),
    ],
)
def test_refusals(config, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(copy.deepcopy(config))


# Merging and whole runs


def test_merged_it_is_the_stock_classifier():
    model = built().eval()
    merged = merge_model(model)
    assert type(merged) is ImageClassifier and not hasattr(merged, 'consistency')
    assert type(model) is ConsistencyClassifier and model.consistency == 1
    stock = MODELS.build(classifier_config('vit'))
    stock.load_state_dict(merged.state_dict(), strict=True)
    with torch.no_grad():
        expected = model(images(4), mode='tensor')
        for each in (merged, stock.eval()):
            torch.testing.assert_close(
                each(images(4), mode='tensor'), expected, atol=1e-5, rtol=1e-5
            )
    assert [*merged.train().loss(images(4), samples())] == ['loss']
    inside = merge_model(torch.nn.ModuleDict(dict(teacher=built())))
    assert type(inside['teacher']) is ImageClassifier


@pytest.mark.parametrize(
    'scope, kind',
    [
        ('mmdmlora', 'ConsistencyClassifier'),
        ('mmdmlora', KIND),
        ('mmpretrain', KIND),
        ('mmpretrain', ConsistencyClassifier),
    ],
)
def test_merged_config_is_of_the_stock_classifier(scope, kind):
    model = dict(settings(consistency=0.5), type=kind)
    found = stock_config(Config(dict(default_scope=scope, model=model))).model
    expected = dict(classifier_config('vit'), type='mmpretrain.ImageClassifier')
    assert found.to_dict() == expected


class Logged(Hook):
    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append({name: float(value.detach()) for name, value in outputs.items()})


def model_of_run():
    model = classifier_config('vit', DMLORA)
    model['head']['num_classes'] = 10
    return dict(model, type='ConsistencyClassifier', consistency=2.0)


def test_a_run_logs_the_term_accumulates_averages_and_resumes(tmp_path):
    options = dict(
        epochs=4,
        model=model_of_run(),
        custom_hooks=[dict(type='EMAHook')],
        hooks=dict(pruning=dict(type='BranchPruningHook', interval=1)),
        optim_wrapper=dict(
            constructor='PEFTOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05),
            accumulative_counts=2,
        ),
    )
    whole, logged = runner(tmp_path / 'whole', **options), Logged()
    whole.register_hook(logged)
    whole.train()
    assert len(logged.seen) == 8
    for losses in logged.seen:
        parts = losses['loss_cls'] + losses['loss_consistency']
        assert losses['loss'] == pytest.approx(parts)
    # Every B is zero at first, so the first term is; with one branch so are the last.
    terms = [losses['loss_consistency'] for losses in logged.seen]
    assert terms[0] == 0 and min(terms[2:6]) > 0 and terms[6:] == [0, 0]
    resumed = runner(
        tmp_path / 'resumed',
        **options,
        resume=True,
        load_from=str(tmp_path / 'whole' / 'epoch_2.pth'),
    )
    resumed.train()
    expected = whole.model.state_dict()
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_merging_a_checkpoint_of_a_run(tmp_path):
    config = run_config(tmp_path, epochs=1, model=model_of_run())
    run = runner(tmp_path, epochs=1, model=model_of_run())
    run.train()
    out = apis.merge(config, str(tmp_path / 'epoch_1.pth'), str(tmp_path / 'merged.pth'))
    stock = Config.fromfile(out)
    assert stock.model.type == 'mmpretrain.ImageClassifier'
    merged = MODELS.build(stock.model)
    state = torch.load(tmp_path / 'merged.pth', weights_only=True)['state_dict']
    merged.load_state_dict(state, strict=True)
    x = images(4)
    torch.testing.assert_close(
        merged.eval()(x, mode='tensor'),
        run.model.eval()(x, mode='tensor'),
        atol=1e-5,
        rtol=1e-5,
    )

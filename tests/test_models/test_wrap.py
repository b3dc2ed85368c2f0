"""Models of timm, torchvision and transformers in one line."""

import copy
import inspect
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torchvision
from mmengine.config import Config
from torch import nn

import mmdmlora
from mmdmlora.models.wrap import METHODS
from mmdmlora.registry import MODELS as REGISTRY
from tests.plain_models import (
    MODELS,
    SIDE,
    VIT,
    build,
    logits,
    pictures,
    state_of,
    timm_vit,
    torchvision_vit,
    train,
    transformers_model,
)

CONFIGS = Path(__file__).parents[2] / 'configs/_base_/methods'
SMALL = dict(
    dict.fromkeys(('repadapter', 'adapter'), dict(dim=4)),
    **dict.fromkeys(('dmlora', 'dmlora-fixed-scale', 'lora'), dict(rank=2)),
)
MERGED = ('dmlora', 'lora', 'repadapter', 'bitfit', 'linear', 'full')
PROMPTED = ('timm vit', 'transformers vit', 'transformers dinov2')
everywhere = pytest.mark.parametrize('name', [*MODELS])


def wrap(name: str, method: str = 'dmlora', seed: int = 0, **options) -> nn.Module:
    net, head = build(name, seed), MODELS[name][1]
    options = {**SMALL.get(method, {}), **options}
    return mmdmlora.wrap(net, method, train_also=[head], **options)


def without_merge(name: str, method: str) -> str:
    """Why a method can't adapt or merge a model by default; empty if it can."""
    if method != 'repadapter':
        return ''
    if 'convnext' in name:
        return 'depthwise convolution has no merged form'
    return 'has no single layer as attention_in' if 'transformers' in name else ''


@everywhere
@pytest.mark.parametrize('method', MERGED)
def test_trains_and_merges_into_the_same_class(name, method):
    net = build(name).eval()
    before, images = state_of(net), pictures()[0]
    expected = logits(net(images)).detach()
    if fault := without_merge(name, method):
        with pytest.raises(ValueError, match=fault):
            wrap(name, method).merge()
        return
    model = wrap(name, method)
    torch.testing.assert_close(logits(model.eval()(images)), expected)
    train(model, 12)
    state = model.state_dict()
    for key, parameter in model.named_parameters():
        own = model.backbone_name(key)
        if parameter.requires_grad:
            assert key in state, key
        else:
            assert key not in state and torch.equal(parameter, before[own]), key
    moved = model.module.get_submodule(MODELS[name][1]).state_dict()
    assert any(
        not torch.equal(tensor, before[f'{MODELS[name][1]}.{key}'])
        for key, tensor in moved.items()
    )
    stock = model.eval().merge()
    difference = (logits(stock(images)) - logits(model(images))).abs().max()
    assert difference < 1e-5
    assert type(stock) is type(net) and list(stock.state_dict()) == list(before)
    assert (logits(model(images)) - expected).abs().max() > 1e-3
    fresh = build(name, seed=9).eval()
    fresh.load_state_dict(stock.state_dict(), strict=True)
    torch.testing.assert_close(logits(fresh(images)), logits(stock(images)))


@everywhere
def test_every_adapter_learns_at_its_place(name):
    model = wrap(name, 'lora')
    layer = model.module.get_submodule(MODELS[name][2])
    assert [*layer.adapters] == (
        ['q', 'v'] if MODELS[name][2].endswith('qkv') else ['all']
    )
    kinds = {path.rsplit('.', 2)[-1] for path in model.adapters}
    assert kinds in ({'q', 'v'}, {'q_proj', 'v_proj'}, {'fc1'}, {'3'}, {'pwconv1'})
    before = {key: p.clone() for key, p in model.named_parameters()}
    train(model, 3)
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter, before[key]) != parameter.requires_grad, key


@everywhere
def test_state_loads_into_a_wrapper_of_the_same_model(name):
    model, images = wrap(name), pictures()[0]
    train(model, 3)
    other = wrap(name)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    for each in (model, other):
        each.eval()
    assert torch.equal(logits(other(images)), logits(model(images)))
    with pytest.raises(ValueError, match='does not fit|another frozen backbone'):
        wrap(name, seed=1).load_state_dict(model.state_dict())


@pytest.mark.parametrize('name', PROMPTED)
@pytest.mark.parametrize('method', ['vpt-deep', 'vpt-shallow'])
def test_prompts_beside_the_tokens(name, method):
    model, seen = wrap(name, method, num_tokens=3), []
    layers = {id(p.tokens): name.rpartition('.')[0] for name, p in model.adapters.items()}
    assert len(layers) == (2 if method == 'vpt-deep' else 1)
    norm = next(m for m in model.module.modules() if isinstance(m, nn.LayerNorm))
    norm.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    output = logits(model(pictures()[0]))
    assert output.shape == (4, 3) and seen == [(4, 1 + 3 + 16, 24)]
    before = {key: p.clone() for key, p in model.named_parameters()}
    train(model, 3)
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter, before[key]) != parameter.requires_grad, key
    with pytest.raises(ValueError, match='no merged form'):
        model.merge()


def test_prompts_of_a_torchvision_vit_equal_its_layers_in_a_loop():
    model = mmdmlora.wrap(torchvision_vit(), 'vpt-deep', num_tokens=3).eval()
    net, images = model.module, pictures()[0]
    tokens = net._process_input(images)
    tokens = torch.cat((net.class_token.expand(4, -1, -1), tokens), 1)
    tokens = tokens + net.encoder.pos_embedding
    for layer, prompts in zip(net.encoder.layers, model.adapters.values(), strict=True):
        prompts = prompts.tokens.expand(4, -1, -1)
        tokens = layer.__class__.forward(
            layer, torch.cat((tokens[:, :1], prompts, tokens[:, 1:]), 1)
        )
        tokens = torch.cat((tokens[:, :1], tokens[:, 4:]), 1)
    expected = net.heads(net.encoder.ln(tokens)[:, 0])
    torch.testing.assert_close(model(images), expected)


def test_torchvision_vit_keeps_its_attention_in_one_parameter():
    for method in ('lora', 'dmlora'):
        with pytest.raises(ValueError, match=r"MultiheadAttention, .*type='mlp.0'"):
            mmdmlora.wrap(torchvision_vit(), method)
    targets = [dict(type='mlp.0')]
    model = mmdmlora.wrap(torchvision_vit(), 'dmlora', ['heads'], targets=targets)
    train(model, 3)
    images = pictures()[0]
    difference = (model.eval()(images) - model.merge().eval()(images)).abs().max()
    assert difference < 1e-5


@pytest.mark.skipif(
    find_spec('mmdmlora.models.weight_readers') is None,
    reason='its attention reads the weight of qkv itself',
)
def test_torchvision_swin_reads_its_weights():
    torch.manual_seed(0)
    sizes = dict(depths=[2, 2], num_heads=[1, 2], window_size=[4, 4], num_classes=3)
    net = torchvision.models.SwinTransformer([4, 4], 12, **sizes)
    model = mmdmlora.wrap(net, 'dmlora', ['head'], rank=2, num_branches=2)
    before = {key: p.clone() for key, p in model.named_parameters()}
    train(model, 30)
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter, before[key]) != parameter.requires_grad, key
    images = pictures()[0]
    difference = (model.eval()(images) - model.merge().eval()(images)).abs().max()
    assert difference < 1e-5


def test_separate_layers_by_older_names():
    class Attention(nn.Module):
        def __init__(self, *names):
            super().__init__()
            for name in names:
                self.add_module(name, nn.Linear(8, 8))

    net = nn.ModuleList(
        [
            Attention('query', 'key', 'value'),
            Attention('q', 'k', 'v'),
            Attention('value'),
        ]
    )
    model = mmdmlora.LoRAModel(net, rank=2)
    assert [*model.adapters] == ['0.query', '0.value', '1.q', '1.v']
    with pytest.raises(ValueError, match=r'has no fused qkv.*Name the layers'):
        mmdmlora.LoRAModel(nn.ModuleList([Attention('value')]))


@pytest.mark.parametrize('draws', ['batch', 'sample'])
def test_outputs_of_transformers_pass_through(draws):
    options = dict(num_branches=3, draws=draws, seed=1)
    model = wrap('transformers vit', **options)
    images, labels = pictures(6)
    output = model(pixel_values=images, labels=labels, output_hidden_states=True)
    assert output.loss.ndim == 0 and len(output.hidden_states) == 3
    drawn = model.draws.drawn()
    if draws == 'sample':
        assert all(len(pairs) == 6 for pairs in drawn.values())
        assert len({tuple(pairs) for pairs in drawn.values()}) == len(drawn)
    optimizer = torch.optim.AdamW(model.parameter_groups(), 1e-2, weight_decay=0.5)
    for step in range(4):
        before = {key: p.clone() for key, p in model.named_parameters()}
        output = model(pixel_values=images, labels=labels)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        names = {id(p): key for key, p in model.named_parameters()}
        used = {
            names[id(branch)]
            for adapter, pairs in model.draws.drawn().items()
            for i, j in pairs
            for branch in (model.adapters[adapter].down[i], model.adapters[adapter].up[j])
        }
        for key, parameter in model.named_parameters():
            if '.down.' in key or '.up.' in key:
                assert key in used or torch.equal(parameter, before[key]), (step, key)
        assert any(not torch.equal(model.get_parameter(key), before[key]) for key in used)


def test_images_are_counted_in_mappings_or_not_at_all():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(6, 18)

        def forward(self, inputs):
            x = inputs['x'] if isinstance(inputs, dict) else torch.stack(inputs)
            return dict(nested=[self.qkv(x)])

    model = mmdmlora.wrap(Net(), rank=2, draws='sample')
    x = torch.randn(5, 6)
    model(dict(name='a', x=x))['nested'][0].sum().backward()
    assert all(len(pairs) == 5 for pairs in model.draws.drawn().values())
    with pytest.raises(ValueError, match=r"one tensor.*got list. Use draws='batch'"):
        model(list(x))
    mmdmlora.wrap(Net(), rank=2)(list(x))


def test_merged_model_of_transformers_saves_and_loads_as_usual(tmp_path):
    model = wrap('transformers dinov2')
    train(model, 3)
    stock = model.merge().eval()
    stock.save_pretrained(tmp_path)
    loaded = type(stock).from_pretrained(tmp_path)
    images = pictures()[0]
    assert torch.equal(loaded(images).logits, stock(images).logits)


@pytest.mark.parametrize('method', [*METHODS])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_model_of_another_precision(method, dtype):
    net = timm_vit().to(dtype)
    options = SMALL.get(method, {})
    model = mmdmlora.wrap(net, method, ['head'], **options)
    images, labels = pictures()
    output = model(images.to(dtype))
    assert output.dtype == dtype
    nn.functional.cross_entropy(output, labels).backward()
    frozen = [p for p in model.parameters() if not p.requires_grad]
    assert all(parameter.dtype == dtype for parameter in frozen)


@pytest.mark.parametrize('method', [*METHODS])
def test_on_the_device_of_the_model(method):
    with torch.device('meta'):
        net = timm_vit()
    model = mmdmlora.wrap(net, method, **SMALL.get(method, {}))
    assert {t.device.type for t in (*model.parameters(), *model.buffers())} == {'meta'}


def test_model_is_adapted_in_place_in_training_mode():
    net = timm_vit().eval()
    model = mmdmlora.wrap(net)
    assert model.module is net
    assert all(module.training for module in model.modules())


def test_frozen_batch_norms_stay_without_a_call_of_train():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    net.add_module('head', nn.Sequential(nn.BatchNorm2d(4)))
    model = mmdmlora.wrap(net, 'linear', train_also=['head', '2'])
    model(pictures()[0])
    counts = [net[1].num_batches_tracked, net[2].num_batches_tracked]
    assert [int(count) for count in counts] == [0, 1]
    assert 'module.head.0.running_mean' in model.state_dict()
    assert 'module.1.running_mean' not in model.state_dict()


@pytest.mark.parametrize('compiled', ['dmlora', 'lora', 'vpt-deep'])
def test_compiles(compiled):
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    plain = wrap('timm vit', compiled)
    model, counter = copy.deepcopy(plain), CompileCounter()
    images, labels = pictures()
    run = torch.compile(model, backend=counter)
    optimizers = [torch.optim.SGD(m.parameter_groups(), 0.1) for m in (plain, model)]
    for _ in range(4):
        for each, optimizer in zip((plain, run), optimizers, strict=True):
            nn.functional.cross_entropy(each(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert counter.frame_count == 1
    for each in (plain, model):
        each.eval()
    torch.testing.assert_close(run(images), plain(images))


@pytest.mark.parametrize('names', ['head', ['head'], ('head.weight', 'head.bias')])
def test_names_of_what_is_trained_also(names):
    model = mmdmlora.wrap(timm_vit(), 'linear', train_also=names)
    trained = [key for key, p in model.named_parameters() if p.requires_grad]
    assert trained == ['module.head.weight', 'module.head.bias']


def test_a_path_is_no_prefix_of_a_name():
    model = mmdmlora.wrap(timm_vit(depth=12), 'lora', train_also=['blocks.1.norm1'])
    model.train_also('blocks.1')
    trained = {
        key.split('.')[2]
        for key, p in model.named_parameters()
        if p.requires_grad and key.startswith('module.blocks') and 'adapters' not in key
    }
    assert trained == {'1'}
    assert model.module.blocks[1].attn.qkv.original.weight.requires_grad


@pytest.mark.parametrize(
    'name, also, known',
    [
        ('timm vit', 'heads', "'head'"),
        ('transformers vit', 'head', "'vit', 'classifier'"),
        ('torchvision convnext', 'classifier.3', "'classifier.2'"),
        ('timm vit', 'blocks.0.attn.q_norm', "'blocks.0.attn.qkv'"),
        ('timm vit', '', "'head'"),
    ],
)
def test_wrong_names_list_candidates(name, also, known):
    with pytest.raises(ValueError, match='names no part') as error:
        mmdmlora.wrap(build(name), 'linear', train_also=[also])
    assert f'train_also={also!r}' in str(error.value) and known in str(error.value)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(method='lorra'), "method='lorra' is unknown: use one of dmlora, dmlora-f"),
        (dict(method=None), 'method=None is unknown'),
        (dict(rnak=8), "'dmlora' has no option 'rnak': did you mean 'rank'"),
        (
            dict(method='linear', rank=8),
            "no option 'rank': It has frozen_dtype",
        ),
        (dict(rank=0), 'rank=0 is not in'),
        (dict(targets=[dict(type='nothing')]), 'matches no linear layer'),
        (dict(train_also='tail'), 'names no part'),
    ],
)
def test_bad_options_leave_the_model_as_it_was(options, message):
    net = timm_vit()
    net.pos_embed.requires_grad_(False)
    before = state_of(net)
    with pytest.raises(ValueError, match=message):
        mmdmlora.wrap(net, **options)
    trained = {key for key, p in net.named_parameters() if p.requires_grad}
    assert trained == {key for key, _ in net.named_parameters()} - {'pos_embed'}
    assert list(net.state_dict()) == list(before)
    mmdmlora.wrap(net)


@pytest.mark.parametrize('model', ['resnet50', dict(type='x'), nn.Linear])
def test_what_is_no_model(model):
    with pytest.raises(ValueError, match='wrap takes a torch.nn.Module'):
        mmdmlora.wrap(model)


def test_methods_are_those_of_the_configs():
    assert sorted(METHODS) == sorted(file.stem for file in CONFIGS.glob('*.py'))
    for name, (wrapper, options) in METHODS.items():
        method = Config.fromfile(CONFIGS / f'{name}.py').method.to_dict()
        assert REGISTRY.get(method.pop('type')) is wrapper
        defaults = {
            key: parameter.default
            for key, parameter in inspect.signature(wrapper).parameters.items()
        }
        assert {**defaults, **options} == {**defaults, **method}


def test_scales_are_a_group_without_decay():
    model = wrap('timm vit')
    others, scales = model.parameter_groups()
    assert scales['weight_decay'] == 0 and 'weight_decay' not in others
    assert scales['params'] == model.scale_parameters()
    both = [id(p) for group in (others, scales) for p in group['params']]
    assert sorted(both) == sorted(id(p) for p in model.trainable_parameters())
    for method in ('lora', 'vpt-deep', 'linear'):
        assert len(wrap('timm vit', method).parameter_groups()) == 1


def test_whole_classifier_of_mmpretrain():
    head = dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=24)
    backbone = dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48),
        img_size=SIDE,
        patch_size=8,
    )
    config = dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=head)
    model = mmdmlora.wrap(REGISTRY.build(config), train_also=['head'], rank=2)
    images = pictures()[0]
    model(images)[0].sum().backward()
    difference = model.eval()(images)[0] - model.merge().eval()(images)[0]
    assert difference.abs().max() < 1e-5


def test_backbone_of_transformers_without_a_head():
    vit = transformers_model('ViT', **VIT).vit
    model = mmdmlora.wrap(vit, 'dmlora', rank=2)
    assert model(pictures()[0]).last_hidden_state.shape == (4, 17, 24)
    assert [*model.adapters][0] == 'layers.0.attention.q_proj'

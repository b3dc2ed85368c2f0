"""Adapters as folders, and several of them over one frozen backbone."""

import copy
import json
import time

import pytest
import torch
from safetensors.torch import load_file

from mmdmlora import disable_adapter, load_adapter, save_adapter, set_adapter, wrap
from mmdmlora.registry import MODELS
from tests.tiny import SIZE, classifier_config, features, images, randomize, wrapped

LOW_RANK = dict(type='mmdmlora.DMLoRAModel', rank=2, num_branches=3)
OTHERS = dict(
    BitFitModel={},
    RepAdapterModel=dict(dim=2),
    AdapterModel=dict(dim=2),
    VPTModel=dict(num_tokens=2, deep=True),
    LinearProbeModel={},
)


def classifier(seed, wrapper=LOW_RANK, backbone='vit', classes=5):
    """The same frozen backbone for each seed; adapters and head are random."""
    torch.manual_seed(0)
    config = classifier_config(backbone, copy.deepcopy(wrapper))
    config['head']['num_classes'] = classes
    model = MODELS.build(config)
    if wrapper['type'].endswith('LoRAModel'):
        randomize(model.backbone, seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and '.adapters.' not in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def outputs(model):
    with torch.no_grad():
        return model(images())


@pytest.mark.parametrize('branches', ['mean', 'all'])
@pytest.mark.parametrize('backbone', ['vit', 'swin', 'convnext', 'convnext_conv'])
def test_switching_equals_separate_models(tmp_path, backbone, branches):
    sources = {
        'a': classifier(1, backbone=backbone),
        # Another rank, number of branches and number of classes.
        'b': classifier(2, dict(LOW_RANK, rank=4, num_branches=1), backbone, 7),
        'c': classifier(3, dict(type='mmdmlora.LoRAModel', rank=1), backbone),
    }
    host = classifier(9, backbone=backbone)
    own = outputs(host)
    for name, source in sources.items():
        save_adapter(source, tmp_path / name, branches)
        load_adapter(host, tmp_path / name, name)
    assert torch.equal(outputs(host), own)
    for name in 'abcab':
        set_adapter(host, name)
        assert (outputs(host) - outputs(sources[name])).abs().max() < 1e-5
    set_adapter(host, None)
    assert torch.equal(outputs(host), own)


@pytest.mark.parametrize('name', OTHERS)
def test_other_methods_switch_too(tmp_path, name):
    wrapper = dict(type=f'mmdmlora.{name}', **OTHERS[name])
    sources = [classifier(seed, wrapper) for seed in (1, 2)]
    host = classifier(9, wrapper)
    own = outputs(host)
    for i, source in enumerate(sources):
        save_adapter(source, tmp_path / f'{i}')
        load_adapter(host, tmp_path / f'{i}', f'{i}')
    for i in (0, 1, 0):
        set_adapter(host, f'{i}')
        assert (outputs(host) - outputs(sources[i])).abs().max() < 1e-6
        assert not torch.allclose(outputs(host), own)
    set_adapter(host, None)
    assert torch.equal(outputs(host), own)
    with pytest.raises(ValueError, match='no low-rank'), disable_adapter(host):
        pass


def test_ten_adapters_are_small_and_switch_at_once(tmp_path):
    arch = dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384)
    backbone = dict(type='mmpretrain.VisionTransformer', arch=arch, img_size=SIZE)
    torch.manual_seed(0)
    host = MODELS.build(
        dict(type='mmdmlora.DMLoRAModel', module=backbone, rank=1, num_branches=4)
    ).eval()
    randomize(host)
    host.save_adapter(tmp_path / 'a')
    for i in range(10):
        host.load_adapter(tmp_path / 'a', f'{i}')
    loaded = host.__dict__['_loaded_adapters'].by_name.values()
    held = [
        t for a in loaded for parts in a.pairs.values() for p in parts.values() for t in p
    ]
    held += [t for a in loaded for t in a.tensors.values()]
    own = sum(t.numel() for t in host.parameters())
    assert sum(t.untyped_storage().nbytes() // 4 for t in held) < 0.2 * own
    seconds = []
    for i in range(10):
        start = time.perf_counter()
        host.set_adapter(f'{i}')
        seconds.append(time.perf_counter() - start)
    assert sorted(seconds)[5] < 0.05


def test_pruned_branches_are_left_out(tmp_path):
    source = classifier(1)
    source.backbone.prune_branches(1)
    source.eval()
    for branches, number in dict(mean=1, all=2).items():
        save_adapter(source, tmp_path / branches, branches)
        card = json.loads((tmp_path / branches / 'adapter.json').read_text())
        assert (card['branches'], card['active_branches']) == (branches, 2)
        host = classifier(9)
        load_adapter(host, tmp_path / branches, 'a')
        set_adapter(host, 'a')
        assert (outputs(host) - outputs(source)).abs().max() < 1e-5
        tensors = load_file(tmp_path / branches / 'adapter.safetensors')
        assert tensors['low_rank.layers.0.attn.qkv.q.down'].shape == (number, 2, 24)


def test_disabled_is_the_frozen_backbone(tmp_path):
    model = wrapped('DMLoRAModel', rank=2, learn_scale=True).eval()
    x = images()
    with torch.no_grad():
        bare = model.bare_module()
        bare.eval()
        frozen = features(bare, x)
        randomize(model)
        adapted = features(model, x)
        with model.disable_adapter():
            assert torch.equal(features(model, x), frozen)
        assert torch.equal(features(model, x), adapted)
        model.save_adapter(tmp_path)
        model.load_adapter(tmp_path, 'a')
        model.set_adapter('a')
        with model.disable_adapter():
            assert torch.equal(features(model, x), frozen)
        assert (features(model, x) - adapted).abs().max() < 1e-5


def test_merging_and_folding_use_the_adapter_in_use(tmp_path):
    source, host = classifier(1), classifier(9)
    save_adapter(source, tmp_path)
    load_adapter(host, tmp_path, 'a')
    with torch.no_grad(), host.backbone.folded():
        set_adapter(host, 'a')
        assert (outputs(host) - outputs(source)).abs().max() < 1e-5
    with torch.no_grad(), host.backbone.folded():
        assert (outputs(host) - outputs(source)).abs().max() < 1e-5
    merged = host.backbone.merge()
    merged.eval()
    with torch.no_grad():
        expected = features(source.backbone, images())
        assert (features(merged, images()) - expected).abs().max() < 1e-5
    clone = copy.deepcopy(host)
    set_adapter(clone, None)
    assert (outputs(host) - outputs(source)).abs().max() < 1e-5


def test_training_saving_and_loading_wait_until_the_own_adapter_is_back(tmp_path):
    host = classifier(9)
    before = copy.deepcopy(host.state_dict())
    save_adapter(classifier(1), tmp_path)
    load_adapter(host, tmp_path, 'a')
    set_adapter(host, 'a')
    for refused in (host.train, host.state_dict, lambda: host.load_state_dict(before)):
        with pytest.raises(ValueError, match="adapter 'a' is in use"):
            refused()
    with pytest.raises(ValueError, match='in use'):
        load_adapter(host, tmp_path, 'a')
    set_adapter(host, None)
    after = host.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    host.train()
    with pytest.raises(ValueError, match='evaluation mode'):
        set_adapter(host, 'a')


def test_a_head_trained_inside_the_wrapper_travels(tmp_path):
    import timm

    def model(seed, classes):
        torch.manual_seed(0)
        options = dict(img_size=SIZE, patch_size=8, embed_dim=24, depth=2, num_heads=2)
        net = timm.create_model('vit_tiny_patch16_224', num_classes=0, **options)
        torch.manual_seed(seed)
        net.reset_classifier(classes)
        adapted = wrap(net, 'lora', train_also=['head'], rank=2).eval()
        randomize(adapted, seed)
        return adapted

    source, host = model(1, 4), model(2, 3)
    source.save_adapter(tmp_path)
    host.load_adapter(tmp_path, 'a')
    host.set_adapter('a')
    assert outputs(host).shape == (2, 4)
    assert (outputs(host) - outputs(source)).abs().max() < 1e-6
    host.set_adapter(None)
    assert outputs(host).shape == (2, 3)


def test_the_card_says_what_the_caller_knows(tmp_path):
    card = dict(classes=['cat', 'dog'], data='photos', accuracy=0.9)
    source = classifier(1)
    save_adapter(source, tmp_path, preprocessing=dict(mean=[0.5]), **card)
    read = load_adapter(classifier(9), tmp_path, 'a')
    assert card.items() <= read.items() and read['method'] == 'DMLoRAModel'
    assert read['places'] == list(source.backbone.adapters) and read['rank'] == 2
    assert 'cat' in (tmp_path / 'README.md').read_text()
    with pytest.raises(ValueError, match='JSON'):
        save_adapter(source, tmp_path, classes=torch.ones(1))


def other_values(model):
    with torch.no_grad():
        model.backbone.module.layers[1].ffn.layers[1].weight.add_(1)
    return model


def of(name, **options):
    return classifier(1, dict(type=f'mmdmlora.{name}', **options))


ONE_LAYER = [dict(type='layers.0.attn.qkv', parts=('q',))]
# Why an adapter doesn't fit: its model, and the model that it is loaded into.
MISFITS = {
    'other values': lambda: (other_values(classifier(1)), classifier(9)),
    'it is of BitFitModel': lambda: (of('BitFitModel'), classifier(9)),
    'no adapter at': lambda: (
        classifier(1),
        classifier(9, dict(LOW_RANK, targets=ONE_LAYER)),
    ),
    'it has no head': lambda: (classifier(1).backbone, classifier(9)),
    'no frozen backbone': lambda: (of('FullFinetuneModel'), of('FullFinetuneModel')),
    'has shape': lambda: (of('AdapterModel', dim=2), of('AdapterModel', dim=3)),
}


@pytest.mark.parametrize('message', MISFITS)
def test_what_does_not_fit_is_refused(tmp_path, message):
    source, host = MISFITS[message]()
    own = outputs(host)
    if message == 'no frozen backbone':
        pytest.raises(ValueError, save_adapter, source, tmp_path)
        return
    save_adapter(source, tmp_path)
    with pytest.raises(ValueError, match=message):
        load_adapter(host, tmp_path, 'a')
    assert torch.equal(outputs(host), own)
    with pytest.raises(ValueError, match='there is no adapter'):
        set_adapter(host, 'a')


def test_folders_of_others_are_not_touched(tmp_path):
    (tmp_path / 'photo.jpg').write_bytes(b'')
    with pytest.raises(ValueError, match='something else'):
        save_adapter(classifier(1), tmp_path)
    with pytest.raises(ValueError, match='has no adapter'):
        load_adapter(classifier(1), tmp_path, 'a')
    save_adapter(classifier(1), tmp_path / 'new')
    weights = tmp_path / 'new' / 'adapter.safetensors'
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match='no whole adapter'):
        load_adapter(classifier(1), tmp_path / 'new', 'a')

"""Writing a backbone in other libraries' names is the inverse of conversion."""

import re

import pytest
import torch
import transformers

from mmdmlora.models.convert import Placement, convert_backbone
from tests.backbones import SOURCES, build

SIZES = dict(image_size=32, patch_size=8)
SMALL = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=2)
HF = dict(
    ViT=dict(SIZES, **SMALL, intermediate_size=48),
    Dinov2=dict(SIZES, **SMALL),
    Swin=dict(
        image_size=32,
        embed_dim=12,
        depths=[1, 1, 1],
        num_heads=[1, 2, 4],
        window_size=4,
    ),
    ConvNext=dict(hidden_sizes=[8, 12, 16], depths=[1, 2, 1], num_stages=3),
)
# Names of transformers 5 as version 4, and its files, have them.
OLDER = {
    'ViT': [
        (r'vit\.layers\.', 'vit.encoder.layer.'),
        (r'attention\.o_proj', 'attention.output.dense'),
        (r'attention\.q_proj', 'attention.attention.query'),
        (r'attention\.k_proj', 'attention.attention.key'),
        (r'attention\.v_proj', 'attention.attention.value'),
        (r'mlp\.fc1', 'intermediate.dense'),
        (r'mlp\.fc2', 'output.dense'),
    ],
    'Swin': [
        (r'attention\.o_proj', 'attention.output.dense'),
        (r'attention\.q_proj', 'attention.self.query'),
        (r'attention\.k_proj', 'attention.self.key'),
        (r'attention\.v_proj', 'attention.self.value'),
        (r'attention\.relative_position_bias\.', 'attention.self.'),
        (r'mlp\.fc1', 'intermediate.dense'),
        (r'mlp\.fc2', 'output.dense'),
    ],
}


def hf_state(name):
    torch.manual_seed(0)
    config = getattr(transformers, f'{name}Config')(**HF[name])
    model = getattr(transformers, f'{name}ForImageClassification')(config)
    return {k: torch.randn_like(v.float()) for k, v in model.state_dict().items()}


def check_round_trip(state):
    converted = convert_backbone(state)[1]
    blank = {name: torch.zeros_like(value) for name, value in state.items()}
    filled = Placement(blank).fill(converted)
    assert filled.keys() == state.keys()
    left = [name for name in state if not torch.equal(filled[name], state[name])]
    assert all(re.search(r'^head\.(fc\.)?\w+$|^classifier\.|mask_token', n) for n in left)


@pytest.mark.parametrize('name', SOURCES)
def test_timm_round_trip(name):
    check_round_trip(build(name)[0].state_dict())


@pytest.mark.parametrize('name', HF)
def test_transformers_round_trip(name):
    check_round_trip(hf_state(name))


@pytest.mark.parametrize('name', OLDER)
def test_names_of_older_transformers(name):
    state = hf_state(name)
    older = {}
    for key, value in state.items():
        for pattern, old in OLDER[name]:
            key = re.sub(pattern, old, key)
        older[key] = value
    assert older.keys() != state.keys()
    new, old = convert_backbone(state)[1], convert_backbone(older)[1]
    assert new.keys() == old.keys()
    assert all(torch.equal(new[key], old[key]) for key in new)


def test_rows_are_located():
    timm_state = build('vit')[0].state_dict()
    place = Placement(timm_state).locate('layers.1.attn.qkv.weight', slice(48, 72))
    assert place.name == 'blocks.1.attn.qkv.weight'
    assert place.rows.tolist() == list(range(48, 72))
    assert place.columns.tolist() == list(range(24))
    separate = Placement(hf_state('ViT'))
    place = separate.locate('layers.1.attn.qkv.weight', slice(48, 72))
    assert place.name == 'vit.layers.1.attention.v_proj.weight'
    assert place.rows.tolist() == list(range(24))
    with pytest.raises(ValueError, match='rows of one weight'):
        separate.locate('layers.1.attn.qkv.weight', slice(0, 72))


def test_other_architectures_are_refused():
    state = convert_backbone(build('vit')[0].state_dict())[1]
    deeper = {**state, 'layers.3.ln1.weight': torch.ones(24)}
    with pytest.raises(ValueError, match='only the backbone has layers.3.ln1.weight'):
        Placement(build('vit')[0].state_dict()).fill(deeper)
    with pytest.raises(ValueError, match='has shape'):
        wider = {**state, 'ln1.weight': torch.ones(25)}
        Placement(build('vit')[0].state_dict()).fill(wider)

"""docs/methods.md says what the configs and classes do."""

import re
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdmlora.apis.compose import load_config
from mmdmlora.models import PEFTModel
from mmdmlora.registry import HOOKS, MODELS
from tests.tiny import VIT, features, images

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs' / 'methods.md').read_text()
METHODS = sorted(f.stem for f in (ROOT / 'configs/_base_/methods').glob('*.py'))
BACKBONES = {'ViT-B/16': 'vit-b16', 'Swin-B': 'swin-b', 'ConvNeXt-B': 'convnext-b'}


def tables(page: str) -> list[dict[str, dict[str, str]]]:
    """Each table's rows by their first cell, a row by its columns' titles."""
    found = []
    for block in re.findall(r'(?:^\|.*\|\n)+', page, flags=re.MULTILINE):
        lines = [[c.strip() for c in x[1:-1].split('|')] for x in block.splitlines()]
        titles, _, *rows = lines
        names = [row[0].strip('`') for row in rows]
        assert len(set(names)) == len(names), names
        cells = [dict(zip(titles, row, strict=True)) for row in rows]
        found.append(dict(zip(names, cells, strict=True)))
    return found


WHAT, COUNTS = tables(PAGE)


@cache
def config_of(method: str, backbone: str) -> Config:
    init_default_scope('mmdmlora')
    return load_config(ROOT / f'configs/{method}/{backbone}_vtab-dtd.py')


def on_meta(method: str, backbone: str, **options) -> PEFTModel:
    config = config_of(method, backbone).model.backbone.to_dict()
    config['module']['init_cfg'] = None
    with torch.device('meta'):
        return MODELS.build(dict(config, **options))


def trained(model: PEFTModel) -> int:
    return sum(p.numel() for p in model.trainable_parameters())


@pytest.fixture(autouse=True)
def linspace_with_values(monkeypatch):
    # mmpretrain reads drop-path rates from a tensor, which needs values.
    monkeypatch.setattr(torch, 'linspace', partial(torch.linspace, device='cpu'))


def test_tables_are_read_by_row_and_column():
    page = 'text\n| a | b |\n|---|---|\n| `x` | 1 |\n| `y` | 2 |\n\n| a |\n|---|\n| z |\n'
    first, second = tables(page)
    assert first == dict(x=dict(a='`x`', b='1'), y=dict(a='`y`', b='2'))
    assert second == dict(z=dict(a='z'))


def test_the_page_has_every_method_and_no_other():
    assert sorted(WHAT) == METHODS
    assert [*WHAT] == [*COUNTS]
    headings = re.findall(r'^\*\*(`.*`)\.\*\*', PAGE, flags=re.MULTILINE)
    assert re.findall('`(.*?)`', ' '.join(headings)) == [*WHAT]


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('title', BACKBONES)
def test_counts_are_those_of_the_configs(method, title):
    cell = COUNTS[method][title]
    if cell == '-':
        with pytest.raises(ValueError):
            on_meta(method, BACKBONES[title])
    else:
        assert cell == f'{trained(on_meta(method, BACKBONES[title])):,}'


@pytest.mark.parametrize(
    'method, count, product',
    [
        ('repadapter', 239_808, 12 * 2 * (8 * 768 + 8 + 768 * 8 // 2 + 768)),
        ('lora', 294_912, 12 * 2 * 8 * (768 + 768)),
    ],
)
def test_counts_that_others_publish(method, count, product):
    assert trained(on_meta(method, 'vit-b16')) == count == product
    assert COUNTS[method]['ViT-B/16'] == f'{count:,}'


def test_counts_in_the_text():
    text = ' '.join(PAGE.split())
    vit, swin = (
        trained(on_meta('adapter', name, placement='houlsby'))
        for name in ('vit-b16', 'swin-b')
    )
    assert f'{vit:,} parameters on ViT-B/16, {swin:,} on Swin-B' in text
    fused = trained(on_meta('lora', 'vit-b16', targets=[dict(type='attn.qkv')]))
    assert fused == trained(on_meta('dmlora-fixed-scale', 'vit-b16', num_branches=1))
    assert f'comes to the same {fused:,}' in text


def test_branches_left_are_those_of_the_pruning_hook():
    for task, left in (('dtd', 6), ('dsprites-loc', 1)):
        config = load_config(ROOT / f'configs/dmlora-fixed-scale/vit-b16_vtab-{task}.py')
        hook = HOOKS.build(config.default_hooks.branch_pruning)
        assert hook.plan.branches_at(299, 300, config.method.num_branches) == left
    text = ' '.join(PAGE.split())
    assert 'leaves 6 branches' in text and 'Structured tasks, which leaves one' in text


@pytest.mark.parametrize('method', METHODS)
def test_class_and_source_are_the_methods(method):
    name = config_of(method, 'vit-b16').method.type
    assert f'mmdmlora.{WHAT[method]["class"].strip("`")}' == name
    for identifier in re.findall(r'\[(\d{4}\.\d{5})\]', WHAT[method]['source']):
        assert identifier in MODELS.get(name).__doc__
        assert f'https://arxiv.org/abs/{identifier})' in WHAT[method]['source']


@pytest.mark.parametrize('method', METHODS)
def test_merges_where_the_page_says_so(method):
    init_default_scope('mmdmlora')
    options = config_of(method, 'vit-b16').method.to_dict()
    torch.manual_seed(0)
    model = MODELS.build(dict(options, module=VIT)).eval()
    for parameter in model.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    answer = re.match('yes|no', WHAT[method]['merges']).group()
    if answer == 'no':
        with pytest.raises(ValueError, match='has no merged form'):
            model.merge()
        return
    with torch.no_grad():
        expected, merged = features(model, images()), features(model.merge(), images())
    torch.testing.assert_close(merged, expected, atol=1e-5, rtol=1e-5)

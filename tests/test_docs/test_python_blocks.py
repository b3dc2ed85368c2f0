"""Every block of Python on the pages compiles, and runs where it can."""

import ast
import re
from importlib import import_module

import pytest
from mmengine.config import Config

import mmdmlora
from tests.imports import ROOT
from tests.test_docs.pages import PAGES, blocks, name_of

BLOCKS = [(p, i, code) for p in PAGES for i, code in enumerate(blocks(p, 'python'))]
# Blocks that are not run here, by a part of them, and why.
NOT_RUN = {
    "net = timm.create_model(\n    'vit_small": 'tests/test_plain_pages.py runs it',
    'net = ViTForImageClassification(': 'tests/test_plain_pages.py runs it',
    'net = torchvision.models.convnext_tiny(': 'tests/test_plain_pages.py runs it',
    '# mmdmlora/models/methods/ssf_model.py': 'tests/test_extending.py runs it',
    '# configs/_base_/methods/ssf.py': 'tests/test_extending.py reads it',
    '# tests/test_models/test_methods/': 'tests/test_extending.py runs it',
    '_base_ = [': 'a config, read below',
    "load_file('merged.safetensors')": 'needs a merged model',
    "VTAB1k('data/vtab-1k'": 'needs data',
    "InferenceSession('epoch_60.onnx')": 'needs an export',
    "'adapters/pets'": 'needs a trained model',
    'from mmseg.apis import': 'needs mmsegmentation and a run',
    'predictor = mmdmlora.Predictor(': 'needs a run',
    '.timeit(': 'prints times: tests/test_models',
    'getrusage(': 'prints times: tests/test_engine/test_freed_memory.py',
}


def ids(value) -> str | None:
    return name_of(value) if value in PAGES else str(value) if value in range(99) else ''


def reason_not_to_run(code: str) -> str | None:
    return next((why for part, why in NOT_RUN.items() if part in code), None)


@pytest.mark.parametrize(('page', 'index', 'code'), BLOCKS, ids=ids)
def test_block(page, index, code, tmp_path, monkeypatch, capsys):
    names_exist(ast.parse(code))
    if reason_not_to_run(code):
        return
    monkeypatch.chdir(tmp_path)
    exec(code, {'__name__': page.stem})
    said = re.findall(r'^print\(.*\)  # (.*)$', code, flags=re.MULTILINE)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if ' - mmengine - ' not in line] == said


def names_exist(tree: ast.AST) -> None:
    """What a block takes from the package is there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith('mmdmlora'):
            module = import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), node.module
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == 'mmdmlora':
            assert hasattr(mmdmlora, node.attr), node.attr


def test_the_example_of_a_config_reads(tmp_path):
    (code,) = (c for p, _, c in BLOCKS if p.name == 'configs.md' and '_base_ =' in c)
    file = tmp_path / 'own.py'
    file.write_text(code.replace("'../", f"'{ROOT}/configs/"))
    config = Config.fromfile(file)
    assert config.train_cfg.max_epochs == 100
    assert config.model.backbone.scale == 10.0


def test_every_reason_is_needed():
    codes = [code for _, _, code in BLOCKS]
    assert [part for part in NOT_RUN if not any(part in code for code in codes)] == []

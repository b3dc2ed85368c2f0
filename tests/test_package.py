"""Registration, and what the README says."""

import re
from pathlib import Path

import pytest
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import Registry
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS

import mmdmlora
from mmdmlora import registry

ROOT = Path(__file__).parents[1]


def sibling(parent: Registry) -> Registry:
    """A registry as mmdet and mmseg have one: a child of the root's, beside ours."""
    return Registry('thing', parent=parent, scope=f'sibling{len(parent.children)}')


def test_prefixed_types_resolve_from_every_scope():
    for models in (MMPRETRAIN_MODELS, sibling(ROOT_MODELS), ROOT_MODELS):
        assert models.get('mmdmlora.DMLoRAModel') is mmdmlora.DMLoRAModel
    hooks = sibling(ROOT_HOOKS)
    assert hooks.get('mmdmlora.BranchPruningHook') is mmdmlora.BranchPruningHook


@pytest.mark.parametrize(
    'name, kind',
    [
        ('MODELS', 'ImageClassifier'),
        ('HOOKS', 'EMAHook'),
        ('DATASETS', 'CustomDataset'),
        ('TRANSFORMS', 'PackInputs'),
        ('METRICS', 'Accuracy'),
        ('VISUALIZERS', 'UniversalVisualizer'),
        ('OPTIMIZERS', 'AdamW'),
        ('LOOPS', 'EpochBasedTrainLoop'),
    ],
)
def test_stock_types_need_no_prefix_in_our_scope(name, kind):
    assert getattr(registry, name).get(kind) is not None


def test_there_is_a_child_of_each_of_mmpretrains_registries():
    from mmpretrain import registry as parent

    for name in parent.__all__:
        assert getattr(registry, name).parent is getattr(parent, name), name


def test_readme_and_ci_run_the_same_tests():
    command = re.search(r'python -m pytest[^`\n]*', (ROOT / 'README.md').read_text())
    assert command.group() in (ROOT / '.ci' / 'run').read_text()

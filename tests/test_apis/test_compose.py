"""Configs: every file, every combination, nothing lost."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdmlora.apis.compose import TEMPLATE, load_config
from mmdmlora.datasets.tasks import VTAB_TASKS, vtab_task
from mmdmlora.registry import DATASETS, HOOKS, MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'
FILES = sorted(p for p in CONFIGS.rglob('*.py') if '_base_' not in p.parts)
PARTS = {
    kind: sorted(p.stem for p in (CONFIGS / '_base_' / kind).glob('*.py'))
    for kind in ('backbones', 'methods', 'tasks')
}
TASKS = [t for t in PARTS['tasks'] if t != 'vtab']
COMBINATIONS = [
    f'{method}/{backbone}_{task}.py'
    for method in PARTS['methods']
    for backbone in PARTS['backbones']
    for task in TASKS
]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdmlora')


def check(cfg: Config, classes: int) -> None:
    assert cfg.default_scope == 'mmdmlora'
    assert cfg.model.head.num_classes == classes
    for hook in cfg.default_hooks.values():
        assert HOOKS.get(hook['type']) is not None
    for name in ('train_dataloader', 'test_dataloader'):
        dataset = cfg[name].dataset
        assert DATASETS.get(dataset['type']) is not None
        resize = next(t for t in dataset.pipeline if t['type'] == 'Resize')
        assert resize['scale'] == (cfg.input_size, cfg.input_size)
    cfg.model.backbone.module.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    logits = model.head.fc if hasattr(model.head, 'fc') else model.head.layers.head
    assert logits.out_features == classes


def expected_classes(name: str) -> int:
    task = name.removesuffix('.py').split('_', 1)[1]
    return 10 if task == 'digits' else vtab_task(task.removeprefix('vtab-')).num_classes


def test_there_are_configs_for_all_of_vtab():
    assert {f'vtab-{task.name}' for task in VTAB_TASKS} <= set(TASKS)


@pytest.mark.parametrize('path', FILES, ids=lambda p: f'{p.parent.name}/{p.name}')
def test_every_file_builds_and_shows_its_command(path):
    check(load_config(path), expected_classes(path.name))
    text = path.read_text()
    assert f'python tools/train.py configs/{path.parent.name}/{path.name}' in text


@pytest.mark.parametrize('path', FILES, ids=lambda p: f'{p.parent.name}/{p.name}')
def test_a_file_starts_from_what_its_name_composes(path):
    backbone, task = path.stem.split('_', 1)
    parts = dict(backbone=backbone, method=path.parent.name, task=task)
    assert TEMPLATE.format(**parts).strip() in path.read_text()


def test_every_combination_composes():
    assert len(COMBINATIONS) >= 4 * 2 * 20
    for name in COMBINATIONS:
        cfg = load_config(CONFIGS / name)
        assert cfg.model.head.num_classes == expected_classes(name), name
        assert cfg.model.backbone.type.startswith('mmdmlora.')
        assert cfg.model.backbone.module.type
        assert cfg.filename.endswith(name)


@pytest.mark.parametrize(
    'name', ['lora/vit-b16_vtab-clevr-count.py', 'linear/vit-tiny_digits.py']
)
def test_composed_configs_build(name):
    check(load_config(CONFIGS / name), expected_classes(name))


def test_a_composed_config_can_be_dumped_and_read(tmp_path):
    cfg = load_config(CONFIGS / 'lora/vit-b16_vtab-svhn.py')
    cfg.dump(tmp_path / 'dumped.py')
    again = Config.fromfile(tmp_path / 'dumped.py')
    assert again.to_dict() == cfg.to_dict()


def test_structured_tasks_prune_fast():
    fast = load_config(CONFIGS / 'dmlora/vit-b16_vtab-dsprites-loc.py')
    slow = load_config(CONFIGS / 'dmlora/vit-b16_vtab-dtd.py')
    intervals = [c.default_hooks.branch_pruning.interval for c in (fast, slow)]
    assert intervals == pytest.approx([1 / 30, 1 / 3])


def test_a_childs_hooks_do_not_drop_the_parents(tmp_path):
    (tmp_path / 'child.py').write_text(
        f"_base_ = '{CONFIGS}/dmlora/vit-b16_vtab-dtd.py'\n"
        "custom_hooks = [dict(type='EMAHook')]\n"
        'default_hooks = dict(checkpoint=dict(interval=5))\n'
    )
    child = load_config(tmp_path / 'child.py')
    parent = load_config(CONFIGS / 'dmlora/vit-b16_vtab-dtd.py')
    assert child.default_hooks.keys() == parent.default_hooks.keys()
    assert child.default_hooks.checkpoint.interval == 5
    assert child.default_hooks.checkpoint.max_keep_ckpts == 1


@pytest.mark.parametrize(
    'name, message',
    [
        ('dmlora/vit-x_digits.py', "no backbone is named 'vit-x'.*vit-b16"),
        ('dmlora/vit-b16_vtab-xyz.py', "no task is named 'vtab-xyz'.*vtab-dtd"),
        ('delora/vit-b16_digits.py', "no method is named 'delora'.*dmlora"),
        ('dmlora/nonsense.py', 'there is no config'),
        ('dmlora/vit-b16_digits.yaml', 'there is no config'),
    ],
)
def test_names_that_compose_nothing(name, message):
    with pytest.raises(ValueError, match=message):
        load_config(CONFIGS / name)

"""Configs: every file, every combination, nothing lost."""

from functools import cache
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdmlora.apis.compose import compose, config_text, load_config, read_quietly
from mmdmlora.apis.tuned import TUNED, tuned
from mmdmlora.data_settings import innermost_datasets
from mmdmlora.datasets.tasks import BENCHMARKS, find_task
from mmdmlora.registry import DATASETS, HOOKS, MODELS, TRANSFORMS
from tests.tiny import wrapped
from tests.wrapped_data import WRAPPERS

CONFIGS = Path(__file__).parents[2] / 'configs'
FILES = sorted(
    p for p in CONFIGS.rglob('*.py') if not {'_base_', 'examples', 'spaces'} & {*p.parts}
)
PARTS = {
    kind: sorted(p.stem for p in (CONFIGS / '_base_' / kind).glob('*.py'))
    for kind in ('backbones', 'methods', 'tasks')
}
ENDS = ('LoadImageFromFile', 'PackInputs')
PREFIXES = {'vtab': 'VTAB-1k', 'fgvc': 'FGVC', 'fewshot': 'few-shot'}
# Others build on a base: vtab-dtd on vtab.
BASES = {t.split('-', 1)[0] for t in PARTS['tasks'] if '-' in t}
TASKS = [t for t in PARTS['tasks'] if t not in BASES]
COMBINATIONS = [
    f'{method}/{backbone}_{task}.py'
    for method in PARTS['methods']
    for backbone in PARTS['backbones']
    for task in TASKS
]
# Every method with every task and every backbone; all of all take minutes.
CROSS = [c for c in COMBINATIONS if '/vit-tiny_' in c or c.endswith('_vtab-dtd.py')]


def output_size(pipeline: list) -> int:
    """The size of the images that come out of a pipeline, which has to build."""
    pipeline = [step for step in pipeline if step['type'] not in ENDS]
    steps = [TRANSFORMS.build(dict(step)) for step in pipeline]
    data = dict(img=np.zeros((300, 500, 3), np.uint8), img_shape=(300, 500))
    for step in steps:
        data = step(data)
    height, width = data['img'].shape[:2]
    assert height == width
    return height


def check(cfg: Config, classes: int) -> None:
    assert cfg.default_scope == 'mmdmlora'
    assert cfg.model.head.num_classes == classes
    for hook in cfg.default_hooks.values():
        assert HOOKS.get(hook['type']) is not None
    for name in ('train_dataloader', 'test_dataloader'):
        dataset = cfg[name].dataset
        assert DATASETS.get(dataset['type']) is not None
        assert output_size(dataset.pipeline) == cfg.input_size
    cfg.model.backbone.module.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    logits = model.head.fc if hasattr(model.head, 'fc') else model.head.layers.head
    assert logits.out_features == classes


def expected_classes(name: str) -> int:
    part = name.removesuffix('.py').split('_', 1)[1]
    prefix, _, task = part.partition('-')
    if prefix not in PREFIXES:
        return Config.fromfile(CONFIGS / f'_base_/tasks/{part}.py').num_classes
    return find_task(BENCHMARKS[PREFIXES[prefix]], task).num_classes


def test_there_are_configs_for_every_task_of_the_table():
    assert {t for t in TASKS if t.startswith(tuple(PREFIXES))} == {
        f'{prefix}-{task.name}'
        for prefix, benchmark in PREFIXES.items()
        for task in BENCHMARKS[benchmark]
    }


@pytest.mark.parametrize('path', FILES, ids=lambda p: f'{p.parent.name}/{p.name}')
def test_every_file_builds_and_shows_its_command(path):
    check(load_config(path), expected_classes(path.name))
    text = path.read_text()
    assert f'python tools/train.py configs/{path.parent.name}/{path.name}' in text


@pytest.mark.parametrize('path', FILES, ids=lambda p: f'{p.parent.name}/{p.name}')
def test_a_file_starts_from_what_its_name_composes(path):
    backbone, task = path.stem.split('_', 1)
    parts = dict(backbone=backbone, method=path.parent.name, task=task)
    assert config_text(**parts).strip() in path.read_text()


@pytest.mark.parametrize(
    'names',
    [CROSS, pytest.param(COMBINATIONS, marks=pytest.mark.slow)],
    ids=['cross', 'all'],
)
def test_every_combination_composes(names):
    assert len(names) >= 4 * 30 + 4
    read = cache(read_quietly)
    for name in names:
        cfg = load_config(CONFIGS / name, read)
        assert cfg.model.head.num_classes == expected_classes(name), name
        assert cfg.model.backbone.type.startswith('mmdmlora.')
        assert cfg.model.backbone.module.type
        assert cfg.filename.endswith(name)


@pytest.mark.parametrize(
    'name',
    [
        'lora/convnext-b_fgvc-cub',
        'dmlora/dinov2-s14-56_generated-dsprites-loc',
        'repadapter/vit-tiny_digits',
        'vpt-deep/vit-b16-mae_vtab-dtd',
        'dmlora/timm/vit_tiny_patch16_224_fewshot-pets',
    ],
)
def test_it_is_what_mmengine_reads_from_the_file_of_that_text(name, tmp_path):
    composed = load_config(CONFIGS / f'{name}.py')
    file = tmp_path / 'own.py'
    file.write_text(composed.text.replace("'../", f"'{CONFIGS}/"))
    assert composed.to_dict() == Config.fromfile(file).to_dict()


def test_a_setting_in_two_parts_is_refused(tmp_path):
    copytree(CONFIGS / '_base_', tmp_path / '_base_')
    with (tmp_path / '_base_/methods/lora.py').open('a') as part:
        part.write('input_size = 9\n')
    with pytest.raises(ValueError, match=r"\['input_size'\] in the method 'lora' is"):
        load_config(tmp_path / 'lora/vit-tiny_digits.py')


@pytest.mark.parametrize(
    'name',
    [
        'lora/vit-b16_vtab-clevr-count.py',
        'dmlora/vit-b16_fgvc-nabirds.py',
        'lora/vit-tiny_fgvc-cub.py',
        'dmlora/vit-b16_fewshot-food101.py',
        'lora/vit-tiny_fewshot-cars.py',
        *(f'{method}/vit-tiny_digits.py' for method in PARTS['methods']),
    ],
)
def test_composed_configs_build(name):
    check(load_config(CONFIGS / name), expected_classes(name))


def sizes(pipeline: list) -> list:
    steps = [s for s in pipeline if 'Crop' in s['type'] or 'Resize' in s['type']]
    return [(s['type'], s.get('scale', s.get('crop_size'))) for s in steps]


def test_sizes_follow_the_backbone():
    fgvc, few, tiny, vtab = (
        load_config(CONFIGS / f'lora/{name}.py')
        for name in (
            *('vit-b16_fgvc-cub', 'vit-b16_fewshot-pets'),
            *('vit-tiny_fgvc-cub', 'vit-b16_vtab-dtd'),
        )
    )
    train, val, test = (
        sizes(fgvc[f'{split}_dataloader'].dataset.pipeline)
        for split in ('train', 'val', 'test')
    )
    assert train == [('ResizeEdge', 256), ('RandomCrop', 224)]
    assert val == test == [('ResizeEdge', 256), ('CenterCrop', 224)]
    train, test = (
        sizes(few[f'{split}_dataloader'].dataset.pipeline) for split in ('train', 'test')
    )
    assert train == [('RandomResizedCrop', 224)]
    assert test == [('Resize', (256, 256)), ('CenterCrop', 224)]
    tiny = sizes(tiny.train_dataloader.dataset.pipeline)
    assert tiny == [('ResizeEdge', 36), ('RandomCrop', 32)]
    assert sizes(vtab.test_dataloader.dataset.pipeline) == [('Resize', (224, 224))]


def test_splits_and_names_of_the_data_sets():
    fgvc = load_config(CONFIGS / 'lora/vit-b16_fgvc-cub.py')
    few = load_config(CONFIGS / 'lora/vit-b16_fewshot-cars.py')
    for cfg, name, splits in (
        (fgvc, 'cub', ('train', 'val', 'test')),
        (few, 'cars', ('train', 'test')),
    ):
        for split in splits:
            dataset = cfg[f'{split}_dataloader'].dataset
            assert (dataset.name, dataset.split) == (name, split)
            built = DATASETS.build({**dataset, 'lazy_init': True})
            assert len(built.metainfo['classes']) == cfg.model.head.num_classes
    few.merge_from_dict(
        {'train_dataloader.dataset.num_shots': 4, 'train_dataloader.dataset.seed': 2}
    )
    built = DATASETS.build({**few.train_dataloader.dataset, 'lazy_init': True})
    assert (built.num_shots, built.seed) == (4, 2)


def test_a_composed_config_can_be_dumped_and_read(tmp_path):
    cfg = load_config(CONFIGS / 'lora/vit-b16_vtab-svhn.py')
    cfg.dump(tmp_path / 'dumped.py')
    again = Config.fromfile(tmp_path / 'dumped.py')
    assert again.to_dict() == cfg.to_dict()


def test_structured_tasks_prune_fast():
    fast = load_config(CONFIGS / 'dmlora/vit-b16_vtab-dsprites-loc.py')
    slow = load_config(CONFIGS / 'dmlora/vit-b16_vtab-dtd.py')
    drawn = load_config(CONFIGS / 'dmlora/vit-tiny_generated-count.py')
    intervals = [c.default_hooks.branch_pruning.interval for c in (fast, slow, drawn)]
    assert intervals == pytest.approx([1 / 30, 1 / 3, 1 / 30])


def written(folder: Path, name: str, call: str) -> Config:
    """A config of one's own: the bases that a name means, and this call."""
    backbone, task = name.split('/')[1].split('_', 1)
    text = config_text(name.split('/')[0], backbone, task)
    text = text.replace("'../", f"'{CONFIGS}/").partition('globals()')[0]
    file = folder / 'own.py'
    file.write_text(f'{text}globals().update(compose(_base_, {call}))\n')
    return load_config(file)


def test_changes_are_merged_before_the_parts_are_composed(tmp_path):
    cfg = written(
        tmp_path,
        'dmlora/vit-b16_vtab-dtd',
        'method=dict(scale=10.0, rank=4), input_size=64, '
        'model=dict(backbone=dict(img_size=64)), '
        'train_dataloader=dict(batch_size=8), '
        'optim_wrapper=dict(optimizer=dict(lr=5e-3)), '
        'default_hooks=dict(branch_pruning=dict(interval=0.1), timer=None)',
    )
    plain = load_config(CONFIGS / 'dmlora/vit-b16_vtab-dtd.py')
    expected = plain.to_dict()
    expected['method'].update(scale=10.0, rank=4)
    expected['model']['backbone'].update(scale=10.0, rank=4)
    expected['model']['backbone']['module']['img_size'] = 64
    expected['input_size'] = 64
    expected['optim_wrapper']['optimizer']['lr'] = 5e-3
    expected['default_hooks']['branch_pruning']['interval'] = 0.1
    expected['default_hooks']['timer'] = None
    expected['train_dataloader']['batch_size'] = 8
    for name in ('train_dataloader', 'test_dataloader'):
        expected[name]['dataset']['pipeline'][1]['scale'] = (64, 64)
    assert cfg.to_dict() == expected


def test_a_change_can_replace_what_the_bases_say(tmp_path):
    cfg = written(
        tmp_path,
        'dmlora/vit-tiny_digits',
        "method=dict(_delete_=True, type='mmdmlora.LoRAModel', rank=2), "
        "model=dict(head=dict(_delete_=True, type='LinearClsHead', in_channels=96)), "
        "optim_wrapper=dict(_delete_=True, optimizer=dict(type='SGD', lr=1.0))",
    )
    backbone = dict(cfg.model.backbone)
    del backbone['module']
    assert backbone == cfg.method == dict(type='mmdmlora.LoRAModel', rank=2)
    assert cfg.model.head == dict(type='LinearClsHead', in_channels=96, num_classes=10)
    assert cfg.optim_wrapper == dict(optimizer=dict(type='SGD', lr=1.0))


def test_a_change_comes_after_the_hooks_of_structured_tasks(tmp_path):
    cfg = written(
        tmp_path,
        'dmlora/vit-tiny_generated-count',
        'default_hooks=dict(branch_pruning=dict(min_branches=4))',
    )
    hook = cfg.default_hooks.branch_pruning
    assert (hook.interval, hook.min_branches) == (1 / 30, 4)
    assert hook.type == 'BranchPruningHook' and 'summary' in cfg.default_hooks


def test_tuned_settings_stand_in_the_configs():
    for experiment, methods in TUNED.items():
        for method, changes in methods.items():
            cfg = load_config(CONFIGS / method / f'{experiment}.py').to_dict()
            rate = changes['optim_wrapper']['optimizer']['lr']
            assert cfg['optim_wrapper']['optimizer']['lr'] == rate
            assert changes.get('method', {}).items() <= cfg['model']['backbone'].items()
            for name, hook in changes.get('default_hooks', {}).items():
                assert hook.items() <= cfg['default_hooks'][name].items()
    assert TUNED['vit-tiny_digits'].keys() == set(PARTS['methods'])


def test_tuned_settings_are_copies():
    tuned('dmlora', 'vit-tiny_digits')['method']['scale'] = 0
    assert tuned('dmlora', 'vit-tiny_digits')['method']['scale'] == 10.0
    assert tuned('dmlora', 'vit-b16_vtab-dtd') == {}


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


def bases(task: str) -> dict:
    """The merged bases of an experiment, as a config file has them."""
    parts = ('backbones/vit-tiny', 'methods/lora', f'tasks/{task}')
    lines = [f"'{CONFIGS}/_base_/{part}.py'," for part in parts]
    return Config.fromstring(f'_base_ = [{"".join(lines)}]', '.py').to_dict()


@pytest.mark.parametrize('wrap', WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize('task', ['vtab-dtd', 'fgvc-cub'])
def test_wrapped_data_sets_get_their_task_and_pipeline(task, wrap):
    base = bases(task)
    plain = compose(base)['train_dataloader']['dataset']
    base['train_dataloader']['dataset'] = wrap(base['train_dataloader']['dataset'])
    outer = compose(base)['train_dataloader']['dataset']
    assert 'pipeline' not in outer
    for dataset in innermost_datasets(outer).values():
        assert dataset == plain


def known(name: str) -> list[str]:
    with pytest.raises(ValueError) as error:
        load_config(CONFIGS / name)
    return str(error.value).rpartition('Known are: ')[2].rstrip('.').split(', ')


def test_known_tasks_are_whole():
    for name in ('lora/vit-tiny_nothing.py', *(f'lora/vit-tiny_{t}.py' for t in BASES)):
        assert known(name) == TASKS


def test_known_parts_fit_together():
    vpt = [m for m in PARTS['methods'] if m.startswith('vpt')]
    others = [b for b in PARTS['backbones'] if b != 'convnext-b']
    assert set(PARTS['methods']) - set(known('none/convnext-b_digits.py')) == {*vpt}
    assert known('none/swin-b_digits.py') == PARTS['methods']
    assert known('none/none_digits.py') == PARTS['backbones']
    assert known('vpt-shallow/none_digits.py') == others
    assert known('lora/none_digits.py') == PARTS['backbones']


@pytest.mark.parametrize('backbone', ['vit', 'swin', 'convnext', 'timm'])
def test_prompts_need_tokens(backbone):
    """What has_tokens says of the backbones that the configs have."""
    if backbone != 'convnext':
        wrapped('VPTModel', backbone)
        return
    with pytest.raises(ValueError, match='ConvNeXt'):
        wrapped('VPTModel', backbone)

"""A run's key is that of everything its result depends on, and its splits are right."""

import pytest

from mmdmlora.experiments.runs import Run

LR = 'optim_wrapper.optimizer.lr'


def test_equal_trainings_have_equal_keys():
    run = Run('lora/vit-tiny_digits', {LR: 1e-3})
    assert run.key == Run('configs/lora/vit-tiny_digits.py', {LR: 0.001}).key


@pytest.mark.parametrize(
    'other',
    [
        Run('lora/vit-tiny_digits', {LR: 2e-3}),
        Run('lora/vit-tiny_digits', {LR: 1e-3}, seed=1),
        Run('lora/vit-tiny_digits', {LR: 1e-3}, part='search'),
        Run('lora/vit-tiny_digits', {LR: 1e-3}, part='paper'),
        Run('lora/vit-tiny_digits', {LR: 1e-3}, details=('dispersion',)),
        Run('lora/vit-tiny_generated-count', {LR: 1e-3}),
        Run('dmlora/vit-tiny_digits', {LR: 1e-3}),
        Run('lora/vit-tiny_digits', {LR: 1e-3, 'train_dataloader.dataset.seed': 1}),
        Run('lora/vit-tiny_digits', {LR: 1e-3, 'train_cfg.max_epochs': 61}),
        Run('lora/vit-tiny_digits', {LR: 1e-3, 'test_dataloader.dataset.seed': 1}),
    ],
    ids=str,
)
def test_other_trainings_have_other_keys(other):
    assert other.key != Run('lora/vit-tiny_digits', {LR: 1e-3}).key


@pytest.mark.parametrize(
    'setting', [('default_hooks.logger.interval', 7), ('default_hooks.summary', None)]
)
def test_what_is_logged_makes_no_difference(setting):
    plain = Run('lora/vit-tiny_digits')
    assert Run('lora/vit-tiny_digits', dict([setting])).key == plain.key


def test_pruning_makes_a_difference():
    place = 'default_hooks.branch_pruning'
    keys = {
        Run('dmlora/vit-tiny_digits', settings).key
        for settings in ({}, {place: None}, {f'{place}.interval': 0.5})
    }
    assert len(keys) == 3


@pytest.mark.parametrize(
    ('config', 'searched', 'chosen', 'tested'),
    [
        ('lora/vit-tiny_digits', 'train800', 'val200', 'train800val200'),
        ('lora/vit-tiny_generated-dist', 'train800', 'val200', 'train800val200'),
        ('lora/vit-b16_vtab-dtd', 'train800', 'val200', 'train800val200'),
        ('lora/vit-b16_fgvc-cub', 'train', 'val', 'train'),
        ('lora/vit-b16_fewshot-pets', 'train', 'val', 'train'),
    ],
)
def test_no_choice_sees_the_test_images(config, searched, chosen, tested):
    search = Run(config, part='search').resolved()
    assert search['train_dataloader']['dataset']['split'] == searched
    assert search['val_dataloader']['dataset']['split'] == chosen
    assert search['test_dataloader'] is search['test_cfg'] is None
    final = Run(config).resolved()
    assert final['train_dataloader']['dataset']['split'] == tested
    assert final['test_dataloader']['dataset']['split'] == 'test'
    assert final['val_dataloader'] is final['val_evaluator'] is None
    paper = Run(config, part='paper').resolved()
    assert paper['train_dataloader']['dataset']['split'] == tested
    assert paper['val_dataloader']['dataset']['split'] == 'test'
    for config in (search, final, paper):
        assert config['default_hooks']['checkpoint']['save_best'] is None


def test_a_setting_without_effect_is_refused():
    with pytest.raises(ValueError, match='would change nothing'):
        Run('lora/vit-tiny_digits', dict(num_classes=3)).resolved()


def test_the_command_says_it_all():
    command = Run('lora/vit-tiny_digits', {LR: 0.01}, seed=2).command()
    assert command.split() == [
        *('mmdmlora', 'train', 'lora/vit-tiny_digits', '--cfg-options'),
        *('randomness.seed=2', 'train_dataloader.dataset.split=train800val200'),
        f'{LR}=0.01',
    ]


def test_weights_count_by_their_content(tmp_path):
    def key(name: str, content: str) -> str:
        file = tmp_path / name
        file.write_text(content)
        checkpoint = 'model.backbone.module.init_cfg.checkpoint'
        return Run('lora/vit-tiny_digits', {checkpoint: str(file)}).key

    assert key('a.pth', 'weights') == key('b.pth', 'weights')
    assert key('c.pth', 'others') != key('a.pth', 'weights')

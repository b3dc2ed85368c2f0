"""From training to a shipped model: interrupt, resume, test, merge."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import MODELS as STOCK

from mmdmlora.apis import run as api
from mmdmlora.engine.required_hooks import required_hooks
from mmdmlora.registry import MODELS
from tests.peft_runner import config
from tests.tiny import images

HOOKS = dict(
    pruning=dict(type='BranchPruningHook', interval=1, min_branches=2),
    scalar=dict(type='LearningScalarHook'),
)
EPOCHS = 4


class PowerCut(Exception):
    pass


class CutHook(Hook):
    """Fails in the second step of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch == self.epoch and batch_idx == 1:
            raise PowerCut


def experiment(work_dir, backbone='vit', **overrides) -> Config:
    return config(work_dir, backbone=backbone, epochs=EPOCHS, hooks=HOOKS, **overrides)


def trained(work_dir, backbone='vit', cuts=(), **overrides) -> Runner:
    """Train to the end, with a power cut and a resumption in each epoch of ``cuts``."""
    for cut in cuts:
        runner = Runner.from_cfg(
            api.prepare(experiment(work_dir, backbone, resume=True, **overrides))
        )
        runner.register_hook(CutHook(cut))
        with pytest.raises(PowerCut):
            runner.train()
    runner = Runner.from_cfg(
        api.prepare(experiment(work_dir, backbone, resume=bool(cuts), **overrides))
    )
    runner.train()
    return runner


def assert_same_state(one: Path, other: Path) -> None:
    first, second = (torch.load(p, weights_only=True) for p in (one, other))
    assert first['state_dict'].keys() == second['state_dict'].keys()
    for name, tensor in first['state_dict'].items():
        assert torch.equal(tensor, second['state_dict'][name]), name
    for index, state in first['optimizer']['state'].items():
        for key, value in state.items():
            assert torch.equal(value, second['optimizer']['state'][index][key])
    scalars = first['message_hub']['log_scalars'], second['message_hub']['log_scalars']
    for key in ('train/loss', 'train/lr', 'train/branches', 'train/scale'):
        assert str(scalars[0].get(key)) == str(scalars[1].get(key)), key


@pytest.mark.parametrize('cuts', [(1,), (0, 2, 3)])
def test_interrupted_run_equals_an_uninterrupted_one(tmp_path, cuts):
    trained(tmp_path / 'whole')
    trained(tmp_path / 'cut', cuts=cuts)
    name = f'epoch_{EPOCHS}.pth'
    assert_same_state(tmp_path / 'whole' / name, tmp_path / 'cut' / name)


def test_interrupted_run_with_an_average(tmp_path):
    ema = dict(custom_hooks=[dict(type='EMAHook', momentum=0.3)])
    trained(tmp_path / 'whole', **ema)
    trained(tmp_path / 'cut', cuts=(2,), **ema)
    name = f'epoch_{EPOCHS}.pth'
    assert_same_state(tmp_path / 'whole' / name, tmp_path / 'cut' / name)


@pytest.mark.parametrize('backbone', ['vit', 'swin', 'convnext'])
def test_from_training_to_a_stock_model(tmp_path, backbone):
    runner = trained(tmp_path, backbone, cuts=(1,))
    last = tmp_path / f'epoch_{EPOCHS}.pth'
    best = Path(runner.message_hub.get_info('best_ckpt'))
    for checkpoint in (last, best):
        metrics = api.test(experiment(tmp_path, backbone), str(checkpoint))
        assert 0 <= metrics['accuracy/top1'] <= 100

        torch.manual_seed(0)  # the frozen backbone is random: that of the Runner's seed
        adapted = MODELS.build(experiment(tmp_path, backbone).model)
        state = torch.load(checkpoint, weights_only=True)['state_dict']
        adapted.load_state_dict(state, strict=True)
        adapted.eval()
        if checkpoint == last:
            assert adapted.backbone.num_branches == 2

        out = tmp_path / 'out' / 'merged.pth'
        path = api.merge(experiment(tmp_path, backbone), str(checkpoint), str(out))
        text = path.read_text()
        assert 'mmdmlora' not in text
        stock = STOCK.build(Config.fromfile(path).model)
        merged = torch.load(out, weights_only=True)
        stock.load_state_dict(merged['state_dict'], strict=True)
        stock.eval()
        assert merged['meta']['dataset_meta']['classes'] == tuple('0123456789')
        with torch.no_grad():
            difference = stock(images(), mode='tensor') - adapted(images(), mode='tensor')
        assert difference.abs().max() < 1e-5


def test_stock_configs_get_the_hooks_that_resuming_needs(tmp_path):
    cfg = experiment(tmp_path)
    del cfg.default_hooks['plain_checkpoint'], cfg.default_hooks['epoch_seed']
    api.train(cfg)
    torch.load(tmp_path / f'epoch_{EPOCHS}.pth', weights_only=True)


def test_stock_configs_get_the_hooks_that_guard_a_training(tmp_path):
    hooks = api.prepare(experiment(tmp_path)).default_hooks
    assert hooks.finite_check.type == 'mmdmlora.FiniteCheckHook'
    assert hooks.num_class_check.type == 'mmdmlora.NumClassCheckHook'


def test_any_hook_can_be_switched_off(tmp_path):
    cfg = experiment(tmp_path)
    cfg.merge_from_dict(
        {
            'default_hooks.pruning': None,
            'default_hooks.timer': None,
            'train_cfg.max_epochs': 2,
        }
    )
    runner = Runner.from_cfg(api.prepare(cfg))
    names = {type(hook).__name__ for hook in runner.hooks}
    assert 'LearningScalarHook' in names
    assert not names & {'BranchPruningHook', 'IterTimerHook'}


def test_checkpoint_of_another_config_is_refused(tmp_path):
    trained(tmp_path)
    checkpoint = str(tmp_path / f'epoch_{EPOCHS}.pth')
    other = experiment(tmp_path)
    other.model.backbone.rank = 3
    with pytest.raises(ValueError, match='does not fit the config'):
        api.test(copy.deepcopy(other), checkpoint)
    with pytest.raises(ValueError, match='does not fit the config'):
        api.merge(copy.deepcopy(other), checkpoint, str(tmp_path / 'm.pth'))
    other = experiment(tmp_path)
    other.model.head.num_classes = 7
    with pytest.raises(ValueError, match='does not fit the config.*head.fc.weight'):
        api.test(other, checkpoint)
    assert not (tmp_path / 'm.pth').exists()


def test_a_test_leaves_the_config_as_it_is(tmp_path):
    trained(tmp_path)
    cfg = experiment(tmp_path, load_from='another.pth', resume=True)
    before = copy.deepcopy(cfg.to_dict())
    api.test(cfg, str(tmp_path / f'epoch_{EPOCHS}.pth'))
    assert cfg.to_dict() == before


def test_a_test_is_prepared_from_what_it_needs(tmp_path):
    cfg = experiment(tmp_path, load_from='another.pth', resume=True)
    cfg.default_hooks.branch_pruning = dict(type='BranchPruningHook', interval=1)
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.train_cfg.max_epochs = 0
    prepared = api.prepare_test(cfg, 'trained.pth')
    assert prepared.load_from == 'trained.pth'
    assert not {*api.TRAINING_SETTINGS} & {*prepared} - {'load_from'}
    assert not {*api.TRAINING_HOOKS} & {*prepared.default_hooks}
    assert {*required_hooks()} <= {*prepared.default_hooks}
    assert prepared.test_dataloader == cfg.test_dataloader
    with pytest.raises(ValueError, match='nowhere'):
        api.prepare(cfg)


def test_missing_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint '.*none.pth'"):
        api.test(experiment(tmp_path), str(tmp_path / 'none.pth'))


def test_all_missing_files_are_named_at_once(tmp_path):
    cfg = experiment(tmp_path)
    cfg.model.backbone.module.init_cfg = dict(
        type='Pretrained', checkpoint='checkpoints/x.pth'
    )
    cfg.weights_source = 'the moon.'
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    with pytest.raises(ValueError) as error:
        api.train(cfg)
    for part in ('checkpoints/x.pth', 'the moon', '--weights', 'nowhere'):
        assert part in str(error.value)


def test_run_shorter_than_its_warm_up(tmp_path):
    schedule = [dict(type='LinearLR', end=5), dict(type='CosineAnnealingLR', begin=5)]
    cfg = experiment(tmp_path, param_scheduler=schedule)
    with pytest.raises(ValueError, match='begins at epoch 5, but .*max_epochs=4'):
        api.train(cfg)


def test_start_from_a_task_with_other_classes(tmp_path):
    """Transfer: what fits is loaded, and the head, which doesn't, starts anew."""
    trained(tmp_path / 'one')
    cfg = experiment(
        tmp_path / 'two', load_from=str(tmp_path / f'one/epoch_{EPOCHS}.pth')
    )
    state = torch.load(cfg.load_from, weights_only=True)
    for name in ('head.fc.weight', 'head.fc.bias'):
        state['state_dict'][name] = state['state_dict'][name][:7]
    torch.save(state, cfg.load_from)
    api.train(cfg)
    assert (tmp_path / f'two/epoch_{EPOCHS}.pth').is_file()


def test_folder_is_looked_at_before_anything_is_built(tmp_path):
    (tmp_path / 'file').write_text('x')
    cfg = experiment(tmp_path / 'file')
    cfg.model = dict(type='NoSuchModel')
    for action in (lambda: api.train(cfg), lambda: api.test(cfg, 'none.pth')):
        with pytest.raises(ValueError, match='is a file, no folder'):
            action()
    with pytest.raises(ValueError, match='is a file, no folder.*OUT'):
        api.merge(cfg, 'none.pth', str(tmp_path / 'file' / 'merged.pth'))


def test_files_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    """Training, test and merge, called from Python."""
    monkeypatch.setenv('HOME', str(tmp_path))

    def settings():
        cfg = experiment('~/run', default_scope='mmdmlora')
        cfg.train_cfg.max_epochs = 2
        cfg.default_hooks.pruning.update(interval=0.25)
        return cfg

    api.train(settings())
    assert (tmp_path / 'run/epoch_2.pth').is_file()
    api.test(settings(), '~/run/epoch_2.pth')
    assert api.merge(settings(), '~/run/epoch_2.pth', '~/m.pth') == tmp_path / 'm.py'
    assert (tmp_path / 'm.pth').is_file()


def test_a_config_without_hooks_gets_those_that_a_run_needs(tmp_path):
    cfg = config(tmp_path)
    cfg.pop('default_hooks')
    assert api.prepare(cfg).default_hooks.keys() == required_hooks().keys()

"""Runs with images in memory end as runs without, bit for bit."""

from __future__ import annotations

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdmlora.apis.checks import check_caches
from mmdmlora.apis.run import prepare
from mmdmlora.engine.cached_loader import LetWholeThrough
from tests.peft_runner import config
from tests.photos import class_folders
from tests.wrapped_data import WRAPPERS

FLIP = dict(type='RandomFlip', prob=0.5)


class Spy(Hook):
    """Keeps what the data loaders are, and the lines of the log."""

    priority = 'LOWEST'

    def before_train(self, runner):
        loader = runner.train_dataloader
        self.is_whole = getattr(loader.dataset, '__getitems__', None) is not None
        self.workers = loader.num_workers


def data_of(cfg):
    return [cfg.train_dataloader.dataset, cfg.val_dataloader.dataset]


def run(work_dir, change=None, cache='memory', epochs=2):
    cfg = config(work_dir, epochs=epochs, log_level='INFO')
    for dataset in data_of(cfg):
        dataset.update(cache=cache, indices=40)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.num_workers = 0
    if change:
        change(cfg)
    runner = Runner.from_cfg(prepare(cfg))
    spy = Spy()
    runner.register_hook(spy)
    runner.train()
    (log,) = work_dir.rglob('*.log')
    spy.lines = [x for x in log.read_text().splitlines() if 'loader.dataset' in x]
    spy.accuracy = runner.message_hub.get_scalar('val/accuracy/top1').current()
    spy.state = dict(runner.model.state_dict())
    return spy


def flip(cfg):
    for dataset in data_of(cfg)[:1]:
        dataset.pipeline.insert(1, FLIP)


def by_iteration(cfg):
    cfg.train_cfg = dict(by_epoch=False, max_iters=4, val_interval=2)
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)


def without_batch_limit(cfg):
    cfg.train_dataloader.pop('num_batch_per_epoch')


def wrapped(name):
    def change(cfg):
        loader = cfg.train_dataloader
        loader.dataset = WRAPPERS[name](loader.dataset)

    return change


def with_workers(cfg):
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=1, prefetch_factor=3, timeout=60)


def iterations_with_workers(cfg):
    by_iteration(cfg)
    with_workers(cfg)
    cfg.train_dataloader.update(persistent_workers=True)


def lists(cfg):
    cfg.train_dataloader.collate_fn = dict(type='pseudo_collate')


CHANGES = {
    'by epochs': (None, True, 0),
    'all batches': (without_batch_limit, True, 0),
    'random steps left': (flip, False, 0),
    'by iterations': (by_iteration, True, 0),
    'by iterations, with workers': (iterations_with_workers, True, 0),
    'with workers': (with_workers, True, 0),
    'lists of images': (lists, False, 0),
    **{f'wrapper: {name}': (wrapped(name), False, 0) for name in ('balanced', 'nested')},
}


@pytest.mark.parametrize('case', CHANGES)
def test_a_run_ends_as_without_a_cache(case, tmp_path):
    change, is_whole, workers = CHANGES[case]
    cached = run(tmp_path / 'cached', change)
    plain = run(tmp_path / 'plain', change, cache=None)
    assert plain.state.keys() == cached.state.keys()
    for name, tensor in plain.state.items():
        assert torch.equal(tensor, cached.state[name]), name
    assert cached.accuracy == plain.accuracy
    assert (cached.is_whole, cached.workers) == (is_whole, workers)
    assert not plain.is_whole and not plain.lines
    assert 'train_dataloader.dataset' in cached.lines[0]
    assert '40 images in memory' in cached.lines[0]
    assert 'val_dataloader.dataset: 40 images' in cached.lines[-1]
    assert ('drawn by index on the host' in cached.lines[0]) == is_whole


def test_workers_stay_where_random_steps_are_left(tmp_path):
    def change(cfg):
        flip(cfg)
        with_workers(cfg)
        cfg.train_dataloader.worker_init_fn = dict(type='mmdmlora.epoch_worker_init_fn')

    cached = run(tmp_path / 'cached', change, epochs=1)
    plain = run(tmp_path / 'plain', change, cache=None, epochs=1)
    assert cached.workers == plain.workers == 1
    for name, tensor in plain.state.items():
        assert torch.equal(tensor, cached.state[name]), name


def test_a_budget_too_small_is_said_with_both_numbers(tmp_path):
    def change(cfg):
        data_of(cfg)[0].cache_gib = 1e-6

    spied = run(tmp_path, change, epochs=1)
    assert 'train_dataloader.dataset: 40 images are read from' in spied.lines[0]
    assert 'about 0.000' in spied.lines[0] and 'cache_gib=1e-06. Raise' in spied.lines[0]
    assert 'val_dataloader.dataset: 40 images in memory' in spied.lines[1]
    assert not spied.is_whole


def test_a_damaged_image_ends_the_run_before_its_first_step(tmp_path):
    class_folders(tmp_path / 'photos')
    path = tmp_path / 'photos' / 'dog' / '5.jpg'
    path.write_bytes(path.read_bytes()[:300])

    def change(cfg):
        cfg.train_dataloader.batch_size = 2
        cfg.model.head.num_classes = 2
        for dataset in data_of(cfg):
            dataset.clear()
            dataset.update(
                type='CustomDataset',
                data_root=str(tmp_path),
                data_prefix='photos',
                cache='memory',
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='Resize', scale=(32, 32)),
                    dict(type='PackInputs'),
                ],
            )

    with pytest.raises(ValueError, match=r'dog/5\.jpg.*is cut off'):
        run(tmp_path / 'out', change)


@pytest.mark.parametrize(
    'key, value', [('cache', 'disk'), ('cache_gib', 0), ('cache_gib', 'much')]
)
@pytest.mark.parametrize('place', [0, 1])
def test_unknown_settings_are_refused_with_their_place(key, value, place, tmp_path):
    cfg = config(tmp_path)
    data_of(cfg)[place][key] = value
    name = ('train', 'val')[place]
    with pytest.raises(ValueError, match=f'{name}_dataloader.dataset.{key}={value!r}'):
        prepare(cfg)


@pytest.mark.parametrize('kind', ['EngineToyDataset', 'mmpretrain.CIFAR10', object])
def test_options_of_other_data_sets_are_not_ours_to_judge(kind, tmp_path):
    cfg = config(tmp_path)
    data_of(cfg)[0].update(type=kind, cache=True)
    check_caches(cfg)


def test_the_collate_function_stays_for_lists():
    collate = LetWholeThrough(pseudo_collate)
    batch = dict(inputs=torch.zeros(1))
    assert collate(batch) is batch
    assert collate([dict(a=1), dict(a=2)]) == dict(a=[1, 2])

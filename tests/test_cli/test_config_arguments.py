"""What the arguments make of a config."""

from argparse import ArgumentParser

import pytest
from mmengine.config import Config

from mmdmlora.apis.run import prepare
from mmdmlora.cli.config_arguments import add_config_arguments, read_config
from tests.test_reliability.tool import DMLORA
from tests.wrapped_data import WRAPPERS


def read(*arguments: str) -> Config:
    parser = ArgumentParser()
    add_config_arguments(parser)
    return read_config(parser.parse_args(arguments))


@pytest.mark.parametrize('name', WRAPPERS)
def test_data_root_reaches_wrapped_data_sets(tmp_path, name):
    file = tmp_path / 'config.py'
    dataset = WRAPPERS[name](dict(type='CustomDataset', data_root='data'))
    file.write_text(f'train_dataloader = dict(dataset={dataset})\nmodel = dict()\n')
    text = str(read(str(file), '--data-root=/elsewhere').train_dataloader)
    assert '/elsewhere' in text and "'data_root': 'data'" not in text


@pytest.mark.parametrize('backbone', ['stock', 'wrapped'])
def test_weights_reach_the_backbone_itself(tmp_path, backbone):
    file = tmp_path / 'config.py'
    settings = dict(type='ResNet', init_cfg=None)
    if backbone == 'wrapped':
        settings = dict(type='mmdmlora.LoRAModel', module=settings)
    file.write_text(f'model = dict(backbone={settings})\n')
    found = read(str(file), '--weights=x.pth').model.backbone
    found = found.module if backbone == 'wrapped' else found
    assert found.init_cfg == dict(type='Pretrained', checkpoint='x.pth')


def test_weights_without_a_backbone(tmp_path):
    file = tmp_path / 'config.py'
    file.write_text('model = dict()\n')
    with pytest.raises(ValueError, match='has no model.backbone'):
        read(str(file), '--weights=x.pth')


def test_every_path_may_start_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'data').mkdir()
    for name in ('w.pth', 'start.pth', 'list.txt'):
        (tmp_path / name).write_text('')
    cfg = prepare(
        read(
            DMLORA,
            '--work-dir=~/run',
            '--data-root=~/data',
            '--weights=~/w.pth',
            '--cfg-options',
            'load_from=~/start.pth',
            'val_dataloader.dataset.ann_file=~/list.txt',
            'default_hooks.checkpoint.out_dir=~/out',
        )
    )
    for path in (
        cfg.work_dir,
        cfg.train_dataloader.dataset.data_root,
        cfg.val_dataloader.dataset.data_root,
        cfg.model.backbone.module.init_cfg.checkpoint,
        cfg.load_from,
        cfg.val_dataloader.dataset.ann_file,
        cfg.default_hooks.checkpoint.out_dir,
    ):
        assert path.startswith(f'{tmp_path}/'), path


def test_a_config_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'mine.py').write_text('model = dict()\n')
    assert read('~/mine.py').model == {}
    assert read('~/mine').model == {}

"""No command writes over what it reads, or over what someone else wrote."""

import json
import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed
from mmpretrain.registry import MODELS as STOCK
from safetensors.torch import load_file

from mmdmlora.apis import run as api
from mmdmlora.apis.outputs import check_output, check_report, check_run, named_files
from mmdmlora.cli import main
from mmdmlora.registry import MODELS
from tests.peft_runner import config
from tests.test_reliability.tool import DMLORA, contents
from tests.tiny import images


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a config ``mine.py`` and a checkpoint ``trained.pth``."""
    monkeypatch.chdir(tmp_path)
    cfg = config(tmp_path / 'run')
    cfg.randomness = dict(seed=0)
    Path('mine.py').write_text(f'# my notes\n{cfg.pretty_text}')
    init_default_scope('mmdmlora')
    set_random_seed(0)
    state = MODELS.build(cfg.model).state_dict()
    meta = dict(dataset_meta=dict(classes=('a', 'b')))
    torch.save(dict(state_dict=state, meta=meta), 'trained.pth')
    return tmp_path


def merge(out):
    return api.merge(Config.fromfile('mine.py'), 'trained.pth', str(out))


def refused(action, folder):
    """The message of an action that leaves everything as it is."""
    before = contents(folder)
    with pytest.raises(ValueError) as error:
        action()
    assert contents(folder) == before
    return str(error.value)


@pytest.mark.parametrize(
    'out, message',
    [
        ('mine.pth', "mine.py', where the config of the merged model goes"),
        ('sub/../mine.safetensors', 'mine.py'),
        ('trained.pth', "is 'trained.pth', which is read"),
        ('./sub/../trained.pth', 'which is read'),
        ('out.py', r"must end in one of ['.pth', '.pt', '.safetensors']"),
        ('out', 'must end in one of'),
        ('out.npz', 'must end in one of'),
    ],
)
def test_merge_refuses_the_place(place, out, message):
    (place / 'sub').mkdir()
    assert message in refused(lambda: merge(out), place)


@pytest.mark.parametrize(
    'kind, source', [('symlink', 'trained.pth'), ('hard link', 'trained.pth')]
)
def test_merge_sees_through_links(place, kind, source):
    if kind == 'symlink':
        os.symlink(source, 'link.pth')
    else:
        os.link(source, 'link.pth')
    assert 'which is read' in refused(lambda: merge('link.pth'), place)


def test_merge_refuses_links_to_configs(place):
    os.symlink('mine.py', 'link.pth')
    assert "mine.py' must end in" in refused(lambda: merge('link.pth'), place)
    os.symlink('mine.py', 'out.py')
    assert "out.py', where the config" in refused(lambda: merge('out.pth'), place)


def test_merge_refuses_the_backbones_weights(place):
    cfg = Config.fromfile('mine.py')
    torch.save({}, 'backbone.pth')
    cfg.model.backbone.module.init_cfg = dict(
        type='Pretrained', checkpoint='backbone.pth'
    )
    message = refused(lambda: api.merge(cfg, 'trained.pth', 'backbone.pth'), place)
    assert "is 'backbone.pth', which is read" in message


def test_merge_may_be_repeated_until_its_config_is_edited(place):
    path = merge('out.pth')
    first = contents(place)
    assert merge('out.pth') == path and contents(place).keys() == first.keys()
    path.write_text(path.read_text() + '\nmine = True\n')
    assert 'or was changed since' in refused(lambda: merge('out.pth'), place)
    path.unlink()
    path.mkdir()
    assert 'out.py' in refused(lambda: merge('out.pth'), place)


def test_safetensors_hold_the_merged_model(place):
    stock = STOCK.build(Config.fromfile(merge('out.safetensors')).model)
    stock.load_state_dict(load_file('out.safetensors'), strict=True)
    merged = STOCK.build(Config.fromfile(merge('out.pth')).model)
    merged.load_state_dict(torch.load('out.pth', weights_only=True)['state_dict'])
    merged.eval(), stock.eval()
    with torch.no_grad():
        logits = [m(images(), mode='tensor') for m in (stock, merged)]
    assert torch.equal(*logits)


def test_training_does_not_replace_its_config(place):
    cfg = Config.fromfile('mine.py')
    cfg.work_dir = '.'
    assert 'would be replaced by the settings' in refused(lambda: api.train(cfg), place)
    cfg.work_dir = str(place / 'other')
    os.makedirs(cfg.work_dir)
    os.symlink('../mine.py', f'{cfg.work_dir}/mine.py')
    assert '--work-dir' in refused(lambda: api.train(cfg), place)


def test_a_recorded_config_may_be_used_again(place):
    cfg = api.prepare(Config.fromfile('mine.py'))
    cfg.experiment_name = 'first'
    Runner.from_cfg(cfg)
    record = place / 'run' / 'mine.py'
    check_run(Config.fromfile('mine.py'))
    again = Config.fromfile(record)
    check_run(again)
    text = record.read_text()
    tested = api.prepare_test(again, 'trained.pth')
    tested.experiment_name = 'second'
    Runner.from_cfg(tested)
    assert record.read_text() == text
    record.write_text(f'{text}# mine\n')
    with pytest.raises(ValueError, match='would be replaced'):
        check_run(again)


@pytest.mark.parametrize('name', ['epoch_3.pth', 'iter_50.pth', 'best_acc_epoch_1.pth'])
def test_training_does_not_replace_its_start(place, name):
    (place / 'run').mkdir()
    (place / 'trained.pth').rename(place / 'run' / name)
    cfg = Config.fromfile('mine.py')
    cfg.load_from = f'run/{name}'
    assert 'lies in the working directory' in refused(lambda: api.train(cfg), place)
    (place / 'start.pth').symlink_to(place / cfg.load_from)
    cfg.update(load_from='start.pth', work_dir=f'{place}/run/../run')
    assert 'lies in the working directory' in refused(lambda: api.train(cfg), place)
    cfg.resume = True
    check_run(cfg)
    cfg.update(resume=False, work_dir=str(place / 'other'))
    check_run(cfg)


def test_training_does_not_replace_its_weights(place):
    (place / 'run').mkdir()
    torch.save({}, 'run/merged.pth')
    cfg = Config.fromfile('mine.py')
    init_cfg = dict(type='Pretrained', checkpoint='run/merged.pth')
    cfg.model.backbone.module.init_cfg = init_cfg
    assert 'lies in the working directory' in refused(lambda: api.train(cfg), place)


def test_training_does_not_end_in_a_refused_merge(place):
    (place / 'run').mkdir()
    (place / 'run' / 'merged.py').write_text('# mine\n')
    cfg = Config.fromfile('mine.py')
    cfg.default_hooks.summary = dict(type='SummaryHook')
    with pytest.raises(ValueError, match="merged.py', where the config"):
        api.train(cfg)
    assert not list((place / 'run').glob('*.pth'))
    assert (place / 'run' / 'merged.py').read_text() == '# mine\n'


@pytest.mark.parametrize('name', ['sheet.py', 'sheet', 'sheet.pth', 'link.png'])
def test_browse_refuses_what_is_no_picture(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.py').write_text(f"_base_ = ['{DMLORA}']\n")
    os.symlink('mine.py', 'link.png')
    before = contents(tmp_path)
    with pytest.raises(SystemExit, match='must end in one of'):
        main(['browse', 'mine.py', '--out', name])
    assert contents(tmp_path) == before


def test_browse_refuses_a_picture_of_the_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'a.png').write_bytes(b'a picture')
    Path('mine.py').write_text(
        "train_dataloader = dict(dataset=dict(dataset=dict(data_root='data')))\n"
    )
    before = contents(tmp_path)
    with pytest.raises(SystemExit, match="among the data in 'data'"):
        main(['browse', 'mine.py', '--out', 'data/../data/a.png'])
    assert contents(tmp_path) == before


@pytest.mark.parametrize('content', ['[1, 2]', '{"ok": 1}', 'images/1.jpg 0', ''])
def test_reports_replace_reports_only(tmp_path, content):
    file = tmp_path / 'train.json'
    check_report(file, '--json')
    file.write_text(content)
    with pytest.raises(ValueError, match='is no report of this command'):
        check_report(file, '--json')
    file.write_text(json.dumps(dict(ok=True, splits=[], missing_tasks={})))
    check_report(file, '--json')
    with pytest.raises(ValueError, match=r"must end in one of \['.json'\]"):
        check_report(tmp_path / 'train.txt', '--json')


def test_files_that_a_config_names(tmp_path):
    file = tmp_path / 'a.txt'
    file.write_text('x')
    tree = dict(a=[dict(b=(str(file), 'no such file'))], c=3, d=str(tmp_path))
    assert list(named_files(tree)) == [str(file)]
    check_output(tmp_path / 'b.txt', 'OUT', named_files(tree))
    with pytest.raises(ValueError, match='which is read'):
        check_output(file, 'OUT', named_files(tree))

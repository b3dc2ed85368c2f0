"""Whole trainings are compared on the same images, weights, schedule and seeds."""

import json

import numpy as np
import pytest
from PIL import Image

from mmdmlora import cli
from mmdmlora.apis.benchmark.end_to_end.photos import write_photos
from mmdmlora.apis.benchmark.end_to_end.run import EndToEnd, markdown, row
from mmdmlora.apis.benchmark.end_to_end.stages import SLOW, config_of, stages
from mmdmlora.datasets.drawn.generated_task import GeneratedTask
from mmdmlora.io import load_checkpoint


def test_images_are_those_of_the_task(tmp_path):
    assert write_photos(tmp_path, num_train=5, side=96) == 16
    count = {part.name: len([*part.glob('*/*.jpg')]) for part in tmp_path.iterdir()}
    assert count == dict(train=5, val=200, test=500)
    source = GeneratedTask('dsprites-loc', split='train800val200')
    for file in tmp_path.glob('train/*/*.jpg'):
        sample = source.get_data_info(int(file.stem))
        assert int(file.parent.name) == sample['gt_label']
        with Image.open(file) as image:
            assert image.size == (96, 96)
            small = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC))
        difference = small.astype(float) - sample['img'][..., ::-1]
        assert np.abs(difference).mean() < 12


@pytest.mark.parametrize('number', [0, 1001])
def test_so_many_images_there_are(tmp_path, number):
    with pytest.raises(ValueError, match=f'from 1 to 1000, got {number}'):
        write_photos(tmp_path, number)


def test_each_stage_loses_what_it_is_named_after():
    found = stages(('lora', 'dmlora'), 'bfloat16', parts=True)
    assert found[0].method is None
    assert set(found[1].slow) == set(SLOW) and not found[1].is_bfloat16
    for before, after in zip(found[1:-3], found[2:-2], strict=True):
        assert set(after.slow) <= set(before.slow)
        assert (set(after.slow), after.is_bfloat16) != (
            set(before.slow),
            before.is_bfloat16,
        )
    assert [stage.name for stage in found[-2:]] == ['lora, ours', 'dmlora, ours']
    assert all(stage.is_bfloat16 and not stage.slow for stage in found[-2:])


def test_without_bfloat16_no_stage_has_it():
    assert not any(s.is_bfloat16 for s in stages(('lora',), 'float32', parts=True))
    assert len(stages(('lora',), 'float32', parts=False)) == 2


def configs(tmp_path, **changes):
    found = stages(('lora',), 'bfloat16', parts=True)
    return [
        config_of(stage, 'vit-tiny', tmp_path / 'w.pth', tmp_path, 16, 10)
        for stage in found
    ]


def test_the_stock_run_has_nothing_of_ours(tmp_path):
    stock = configs(tmp_path)[0]
    assert 'mmdmlora' not in stock.pretty_text
    assert stock.default_hooks.checkpoint == dict(type='CheckpointHook', interval=1)
    assert stock.train_dataloader.num_workers == 5


def test_all_runs_see_the_same(tmp_path):
    stock, *own = configs(tmp_path)
    for config in own:
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            expected, got = stock[loader], config[loader]
            assert got.dataset.pipeline == expected.dataset.pipeline
            assert got.batch_size == expected.batch_size
        assert config.param_scheduler == stock.param_scheduler
        assert config.optim_wrapper.optimizer == stock.optim_wrapper.optimizer
        assert config.train_cfg.max_epochs == stock.train_cfg.max_epochs
        assert config.model.backbone.module == stock.model.backbone.module
        assert config.model.head == stock.model.head
        assert config.model.backbone.targets == [dict(type='qkv')]
    assert stock.model.backbone.targets == [dict(type=r'.*\.qkv')]
    assert stock.model.backbone.alpha == own[0].method.scale * own[0].method.rank


def test_a_run_that_ends_in_its_warm_up_is_refused(tmp_path):
    stage = stages(('lora',), 'float32', parts=False)[0]
    with pytest.raises(ValueError, match='warm'):
        config_of(stage, 'vit-tiny', tmp_path / 'w.pth', tmp_path, 16, epochs=2)


def run(seconds, accuracy, waits=5.0):
    return dict(
        seconds=seconds,
        accuracy=accuracy,
        training_seconds=10.0,
        data_seconds=waits,
        step_seconds=4.0,
    )


def test_quotients_are_paired_by_seed():
    stock = [run(30.0, 50.0), run(60.0, 52.0)]
    found = row('ours', [run(10.0, 51.0, 0.1), run(10.0, 53.0, 0.3)], stock)
    assert found['times_faster'] == 4.5
    assert found['accuracy'] == 52 and found['deviation'] == pytest.approx(2**0.5)
    one = row('part', [run(15.0, 49.0)], stock)
    assert one['times_faster'] == 2 and one['deviation'] is None
    lines = markdown([found, one]).splitlines()
    assert lines[2] == '| ours | 10 | 4.50 | 2.0 % | 60.0 % | 52.0 ± 1.4 (2) |'
    assert lines[3] == '| part | 15 | 2.00 | 50.0 % | 60.0 % | 49.0 (1) |'


@pytest.mark.parametrize('name', ['epochs', 'images', 'seeds'])
def test_numbers_must_be_positive(tmp_path, name):
    with pytest.raises(ValueError, match=f'{name} must be at least 1, got 0'):
        EndToEnd(tmp_path, **{name: 0})


def test_a_small_comparison(tmp_path, capsys):
    folder, report = tmp_path / 'x', tmp_path / 'a.json'
    command = ['benchmark', '--end-to-end', str(folder), '--methods', 'lora', '--images']
    command += ['130', '--epochs', '4', '--seeds', '1', '--no-parts', '--json']
    cli.main([*command, str(report)])
    rows = json.loads(report.read_text())['rows']
    assert [each['stage'] for each in rows] == ['mmpretrain, stock', 'lora, ours']
    assert all(0 <= each['accuracy'] <= 100 for each in rows)
    for each in rows:
        (measured,) = each['runs']
        assert 0 < measured['training_seconds'] < measured['seconds']
        assert 0 < measured['step_seconds'] < measured['training_seconds']
    stock = load_checkpoint(next(folder.glob('mmpretrain*/run/epoch_4.pth')))
    assert any('lora' in name for name in stock['state_dict'])
    before = capsys.readouterr().out
    kept = {file: file.stat().st_mtime_ns for file in folder.glob('*/result.json')}
    cli.main([*command, str(report)])
    assert capsys.readouterr().out == before
    assert kept == {f: f.stat().st_mtime_ns for f in folder.glob('*/result.json')}
    command[command.index('4')] = '5'
    with pytest.raises(SystemExit, match='holds a run with other settings'):
        cli.main(command[:-1])

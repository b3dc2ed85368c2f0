"""The page about runs."""

import base64
import json
import re
import shutil

import numpy as np
import pytest
from mmengine.runner import Runner

from mmdmlora.apis.run_report import _name_apart, report
from mmdmlora.apis.run_report.predictions import predict
from mmdmlora.apis.run_report.run_log import read_run
from mmdmlora.cli import main
from tests.peft_runner import config

HOOKS = dict(
    pruning=dict(type='BranchPruningHook', interval=1, min_branches=2),
    monitor=dict(type='AdapterMonitorHook'),
    summary=dict(type='SummaryHook'),
)


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """A finished DMLoRA run and a linear probe, of the same task."""
    folder = tmp_path_factory.mktemp('runs')
    Runner.from_cfg(config(folder / 'a', hooks=HOOKS)).train()
    hooks = dict(summary=HOOKS['summary'])
    probe = dict(type='mmdmlora.LinearProbeModel')
    Runner.from_cfg(config(folder / 'b', wrapper=probe, hooks=hooks, epochs=2)).train()
    return folder


def test_one_page_has_both_runs_and_needs_no_other_file(runs, tmp_path, capsys):
    out = tmp_path / 'page.html'
    main(['report', str(runs / 'a'), str(runs / 'b'), '--out', str(out)])
    assert str(out) in capsys.readouterr().out
    text = out.read_text()
    assert set(re.findall(r'(?:src|href)="([^,"]*)', text)) <= {
        'data:image/svg+xml;base64',
        'data:image/png;base64',
    }
    for part in ('Loss and accuracy', 'Branches', 'validation split: 16 images'):
        assert part in text
    assert text.count('misclassified images') == 2
    # They differ in the wrapper; equal settings are left out of that table.
    table = text[text.index('What differs') : text.index('<details>')]
    assert 'model.backbone.type' in table and 'model.head.num_classes' not in table


def test_predictions_agree_with_the_test_of_the_run(runs):
    for name in 'ab':
        run = read_run(runs / name)
        tested = predict(run, 'test')
        assert tested.split == 'test' and tested.confusion.sum() == 16
        assert tested.accuracy == pytest.approx(run.summary['test accuracy/top1'])
        wrong = tested.confusion.sum() - np.trace(tested.confusion)
        assert len(tested.mistakes) == min(24, wrong)
        scores = [mistake.score for mistake in tested.mistakes]
        assert scores == sorted(scores, reverse=True)
        assert all(m.label != m.predicted for m in tested.mistakes)


def test_active_branches_are_those_of_the_checkpoint(runs):
    active = predict(read_run(runs / 'a')).active
    assert (active['down'].sum(1) == 2).all() and (active['up'].sum(1) == 2).all()
    assert predict(read_run(runs / 'b')).active == {}


def test_plots_are_svg_with_labelled_axes(runs):
    from mmdmlora.apis.run_report import plots

    a, b = read_run(runs / 'a'), read_run(runs / 'b')
    assert plots.loss_plot([a, b]).count('<svg') == 1
    assert plots.scales_plot(a) and plots.scales_plot(b) is None
    assert plots.branches_plot([b]) is None
    for label in ('epoch', 'training loss', 'a', 'b'):
        assert f'<!-- {label} -->' in plots.loss_plot([a, b])


def test_curves_are_what_was_logged(runs):
    run = read_run(runs / 'a')
    assert run.unit == 'epoch'
    assert run.training_curve('loss')[0] == [0.5, 1, 1.5, 2, 2.5, 3]
    steps, values = run.validation_curves()['accuracy/top1']
    assert steps == [1, 2, 3] and max(values) == run.summary['best validation']
    assert len(run.places) == 4


def copied(runs, folder, name='a'):
    target = folder / name
    shutil.copytree(runs / name, target)
    return target


def test_a_resumed_run_is_one(runs, tmp_path):
    run = copied(runs, tmp_path)
    first = next(run.glob('*/vis_data'))
    later = run / '99999999_000000' / 'vis_data'
    shutil.copytree(first, later)
    again = {'loss': 9.0, 'lr': 1.0, 'time': 1.0, 'epoch': 2, 'iter': 3, 'step': 3}
    later.joinpath('scalars.json').write_text(json.dumps(again) + '\n{"broken')
    read = read_run(run)
    assert [line['step'] for line in read.train] == [1, 2, 3]
    assert read.train[-1]['loss'] == 9


def test_scales_among_the_scalars_are_read(runs, tmp_path):
    run = copied(runs, tmp_path)
    scales = next(run.glob('*/vis_data/scales.json'))
    scalars = scales.with_name('scalars.json')
    scalars.write_text(scalars.read_text() + scales.read_text())
    scales.unlink()
    read = read_run(run)
    assert len(read.places) == 4 and len(read.scales) == 3
    assert set(read.validation_curves()) == {'accuracy/top1'}


def remove_checkpoints(run):
    for file in [*run.glob('*.pth'), run / 'last_checkpoint']:
        file.unlink()


def remove_data(run):
    file = next(run.glob('*/vis_data/config.py'))
    text = file.read_text().replace("type='Digits'", "data_root='gone', type='Digits'")
    file.write_text(text)


def remove_split(run):
    file = next(run.glob('*/vis_data/config.py'))
    text = file.read_text()
    file.write_text(text + 'val_dataloader = None\ntest_dataloader = None\n')


def damage_checkpoint(run):
    for file in run.glob('epoch_*.pth'):
        file.write_bytes(b'no checkpoint')


@pytest.mark.parametrize(
    'change, reason',
    [
        (remove_checkpoints, 'no checkpoint is left'),
        (remove_data, 'The data folder &#x27;gone&#x27;'),
        (remove_split, 'neither a val_dataloader'),
        (damage_checkpoint, 'epoch_3.pth'),
    ],
)
def test_without_data_the_page_says_why(runs, tmp_path, change, reason):
    run = copied(runs, tmp_path)
    change(run)
    report([str(run)], str(tmp_path / 'page.html'))
    text = (tmp_path / 'page.html').read_text()
    (note,) = re.findall(r'Left out: (.*?)</p>', text, re.S)
    assert reason in note
    assert 'Loss and accuracy' in text


@pytest.mark.parametrize(
    'make', [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_text('')]
)
def test_what_is_no_run_is_named(tmp_path, make):
    make(tmp_path / 'x')
    with pytest.raises(SystemExit, match=r"error: '.*x' holds no log of a training"):
        main(['report', str(tmp_path / 'x'), '--out', str(tmp_path / 'page.html')])
    assert not (tmp_path / 'page.html').exists()


@pytest.mark.parametrize('out', ['page.txt', 'epoch_3.pth', 'page'])
def test_other_files_are_not_written_over(runs, tmp_path, out):
    with pytest.raises(SystemExit, match='must end in'):
        main(['report', str(runs / 'a'), '--out', str(tmp_path / out)])


def test_runs_of_one_name_are_told_apart(runs, tmp_path):
    first, second = copied(runs, tmp_path / 'x'), copied(runs, tmp_path / 'y')
    read = [read_run(first), read_run(second)]
    _name_apart(read)
    assert [run.name for run in read] == ['x/a', 'y/a']
    twice = [read_run(first), read_run(first)]
    _name_apart(twice)
    assert [run.name for run in twice] == ['a 1', 'a 2']


def test_names_and_settings_are_escaped(runs, tmp_path):
    run = copied(runs, tmp_path).rename(tmp_path / '<b>&')
    report([str(run)], str(tmp_path / 'page.html'))
    text = (tmp_path / 'page.html').read_text()
    assert '<b>' not in text and '&lt;b&gt;&amp;' in text
    pictures = re.findall(r'image/svg\+xml;base64,([^"]+)', text)
    assert all(b'<svg' in base64.b64decode(picture) for picture in pictures)

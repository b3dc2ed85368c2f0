"""A run that was interrupted ends as one that wasn't, and is done once."""

import json

import pytest
import torch

from mmdmlora.experiments import execution
from mmdmlora.experiments.execution import execute
from mmdmlora.experiments.runs import Run

SETTINGS = {
    'train_cfg.max_epochs': 4,
    'train_dataloader.dataset.num_shots': 13,
    'model.backbone.num_branches': 3,
    'default_hooks.branch_pruning': None,
}
RUN = Run('dmlora/vit-tiny_digits', SETTINGS, part='search', details=('dispersion',))


def weights(folder):
    return torch.load(folder / 'epoch_4.pth', weights_only=True)['state_dict']


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole') / 'run'
    return folder, execute(RUN, folder)


def test_an_interrupted_run_is_gone_on_with(whole, tmp_path, monkeypatch):
    folder, expected = whole
    epochs = []

    def interrupt(hook, runner):
        epochs.append(runner.epoch)
        if len(epochs) == 2:
            raise InterruptedError

    monkeypatch.setattr(
        execution.RunRecordHook, 'after_train_epoch', interrupt, raising=False
    )
    settings = {**SETTINGS, 'default_hooks.checkpoint.interval': 1}
    run = Run(RUN.config, settings, part='search', details=RUN.details)
    with pytest.raises(InterruptedError):
        execute(run, tmp_path)
    record = execute(run, tmp_path)
    assert epochs == [0, 1, 2, 3]
    for name in ('accuracy', 'training_loss', 'epochs', 'scales', 'details', 'commit'):
        assert record[name] == expected[name]
    got, want = weights(tmp_path), weights(folder)
    assert all(torch.equal(got[name], want[name]) for name in want)


def test_the_record(whole):
    _, record = whole
    assert 0 <= record['accuracy'] <= 100 and record['epochs'] == 4
    assert record['best_accuracy'] is None
    assert record['seconds'] == pytest.approx(4 * record['seconds_per_epoch'])
    assert record['settings'] == SETTINGS and record['part'] == 'search'
    assert record['details']['dispersion']['distance (up)'] > 0
    assert {branch for *_, branch in record['details']['coordinates']} == {0, 1, 2}
    assert record['versions']['torch'] and record['commit']


def test_a_finished_run_is_not_repeated(whole, monkeypatch):
    folder, expected = whole
    monkeypatch.setattr(execution, 'train', None)
    assert execute(RUN, folder) == expected


def test_the_papers_protocol_looks_at_the_test_set_along_the_way(tmp_path):
    settings = {**SETTINGS, 'train_cfg.val_interval': 1}
    record = execute(Run(RUN.config, settings, part='paper'), tmp_path)
    (file,) = tmp_path.glob('*/vis_data/scalars.json')
    logged = [json.loads(line) for line in file.read_text().splitlines()]
    along = [line['accuracy/top1'] for line in logged if 'accuracy/top1' in line]
    assert record['best_accuracy'] == pytest.approx(max(along))
    assert record['accuracy'] == pytest.approx(along[-1])

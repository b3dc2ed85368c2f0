"""The first rung of a search: few batches an epoch, and the whole schedule."""

import json
from pathlib import Path
from statistics import fmean

import pytest

from mmdmlora.experiments.execution import execute
from mmdmlora.experiments.runs import Run
from mmdmlora.experiments.search import Search
from mmdmlora.experiments.spaces import Space


def test_a_short_training_passes_through_the_whole_schedule(tmp_path):
    settings = {
        'train_cfg.max_epochs': 6,
        'train_dataloader.batch_size': 8,
        'train_dataloader.dataset.num_shots': 13,
        'model.backbone.num_branches': 4,
        'default_hooks.branch_pruning.interval': 1,
        'default_hooks.branch_pruning.min_branches': 1,
        'default_hooks.logger.interval': 1,
    }
    search = Search('dmlora-fixed-scale/vit-tiny_digits', Space({}), 1, settings)
    run, short = search.run_of({}), search.run_of({}, 0.25)
    assert short.key != run.key
    whole_epochs, short_epochs = (
        epochs_of(tried, tmp_path / name)
        for name, tried in (('whole', run), ('short', short))
    )
    assert [len(epoch) for epoch in whole_epochs] == [16] * 6
    assert [len(epoch) for epoch in short_epochs] == [4] * 6
    for whole, few in zip(whole_epochs, short_epochs, strict=True):
        assert few[-1]['branches'] == whole[-1]['branches']
        rates = [fmean(step['lr'] for step in epoch) for epoch in (few, whole)]
        assert rates[0] == pytest.approx(rates[1], abs=5e-4)  # of 5e-3


def epochs_of(run: Run, folder: Path) -> list[list[dict]]:
    """The logged steps of each epoch."""
    assert execute(run, folder)['epochs'] == 6
    (file,) = folder.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [
        [line for line in lines if 'loss' in line and line['epoch'] == epoch]
        for epoch in range(1, 7)
    ]

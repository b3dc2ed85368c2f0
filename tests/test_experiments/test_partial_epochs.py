"""Short epochs: fewer batches, other images in each, and the whole schedule."""

import json
from pathlib import Path
from statistics import fmean

import pytest
from mmengine.dataset import DefaultSampler

from mmdmlora.experiments.execution import execute
from mmdmlora.experiments.partial_epochs import PartialEpochBatchSampler, partial_epochs
from mmdmlora.experiments.runs import Run


def batches(images: int, share: float, drop_last: bool) -> list[list[int]]:
    sampler = DefaultSampler(range(images), shuffle=False)
    found = PartialEpochBatchSampler(sampler, 64, share, drop_last)
    assert len(found) == len([*found])
    return [*found]


@pytest.mark.parametrize(
    ('images', 'share', 'drop_last', 'count'),
    [
        (800, 0.25, True, 3),
        (800, 0.25, False, 3),
        (800, 1.0, True, 12),
        (800, 1.0, False, 13),
        (70, 0.25, False, 1),
        (64, 0.25, True, 1),
        (63, 0.25, False, 1),
        (63, 0.25, True, 0),
    ],
)
def test_the_number_of_batches(images, share, drop_last, count):
    assert len(batches(images, share, drop_last)) == count


def test_the_batches_are_the_first_of_the_epoch():
    assert batches(800, 0.25, True) == [
        [*range(begin, begin + 64)] for begin in (0, 64, 128)
    ]


def test_each_epoch_has_other_images():
    sampler = DefaultSampler(range(800), shuffle=True, seed=0)
    shortened = PartialEpochBatchSampler(sampler, 64, 0.25, drop_last=True)
    images = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        images.append({image for batch in shortened for image in batch})
    assert all(len(seen) == 192 for seen in images)
    assert images[0] != images[1]


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
    run = Run('dmlora-fixed-scale/vit-tiny_digits', settings, part='search')
    short = Run(run.config, {**settings, **partial_epochs(run, 0.25)}, part='search')
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


def test_a_batch_sampler_is_not_replaced():
    sampler = dict(type='BatchSampler', drop_last=False)
    run = Run('lora/vit-tiny_digits', {'train_dataloader.batch_sampler': sampler})
    with pytest.raises(ValueError, match='use --no-halving'):
        partial_epochs(run, 0.25)

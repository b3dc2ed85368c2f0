"""Where the images lie, and which data loaders are changed."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from mmengine.dataset import default_collate
from torch.utils.data import DataLoader, Subset

from mmdmlora.datasets import Digits
from mmdmlora.datasets.image_cache.batches import is_same
from mmdmlora.engine import cached_loader
from mmdmlora.engine.cached_loader import LetWholeThrough, device_of_images, speed_up

CPU, GPU = torch.device('cpu'), torch.device('cuda', 0)


def digits(**options) -> Digits:
    dataset = Digits('val200', [dict(type='PackInputs')], cache='memory', **options)
    dataset.fill_cache()
    return dataset


def loader_of(dataset, **options) -> DataLoader:
    return DataLoader(dataset, 8, **(dict(collate_fn=default_collate) | options))


@pytest.mark.parametrize(
    'device, pinned, free, expected',
    [
        (CPU, False, 10**9, None),
        (GPU, False, 10**9, GPU),
        (GPU, True, 10**9, None),
        (GPU, False, 4, None),
    ],
)
def test_images_lie_on_a_gpu_if_they_take_a_quarter_of_it(
    device, pinned, free, expected, monkeypatch
):
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (free, 10**10))
    loader = loader_of(digits(), pin_memory=pinned)
    assert device_of_images(device, loader) == expected


def test_batches_may_come_from_a_device(monkeypatch):
    monkeypatch.setattr(cached_loader, 'device_of_images', lambda device, loader: CPU)
    plain, cached = digits(), digits()
    loader = loader_of(cached)
    assert 'by index on cpu' in speed_up(loader, CPU)
    assert isinstance(cached._resident, torch.Tensor)
    for one, two in zip(loader_of(plain), loader, strict=True):
        assert is_same(one, two)


@pytest.mark.parametrize('collate', [default_collate, partial(default_collate)])
def test_a_plain_loader_takes_whole_batches(collate):
    dataset = digits()
    loader = loader_of(dataset, collate_fn=collate, shuffle=True, num_workers=2)
    assert 'without workers' in speed_up(loader, CPU)
    assert isinstance(loader.collate_fn, LetWholeThrough) and loader.num_workers == 0
    torch.manual_seed(0)
    found = list(loader), torch.get_rng_state()
    torch.manual_seed(0)
    expected = list(loader_of(digits(), shuffle=True)), torch.get_rng_state()
    assert is_same(found, expected)


OTHERS = {
    'a collate_fn of the user': (digits, dict(collate_fn=list)),
    'no batches': (digits, dict(batch_size=None)),
    'a part of the data': (lambda: Subset(digits(), [1, 2, 3]), {}),
}


@pytest.mark.parametrize('case', OTHERS)
def test_other_loaders_keep_their_batches(case):
    make, options = OTHERS[case]
    dataset = make()
    options = dict(batch_size=2, collate_fn=default_collate) | options
    if options['batch_size'] is None:
        options.pop('collate_fn')
    loader = DataLoader(dataset, num_workers=1, **options)
    collate = loader.collate_fn
    assert speed_up(loader, CPU) == 'No workers are used.'
    assert loader.collate_fn is collate and loader.num_workers == 0
    assert is_same(next(iter(loader)), next(iter(DataLoader(make(), **options))))


class Mixed(Subset):
    """A wrapper of the user, which may draw random numbers."""


@pytest.mark.parametrize(
    'dataset', [Digits('val200', []), Mixed(digits(), [0]), torch.arange(4)]
)
def test_what_is_not_known_to_be_in_memory_is_left_alone(dataset):
    loader = loader_of(dataset, num_workers=1)
    assert speed_up(loader, CPU) == ''
    assert loader.num_workers == 1 and loader.collate_fn is default_collate

"""Batches by index on a GPU: run with `pytest -m gpu`."""

import pytest
import torch
from mmengine.dataset import default_collate
from torch.utils.data import DataLoader

from mmdmlora.datasets import Digits
from mmdmlora.datasets.image_cache.batches import is_same
from mmdmlora.engine.cached_loader import speed_up

pytestmark = pytest.mark.gpu


def test_batches_are_drawn_on_the_gpu_without_waiting_for_it():
    gpu = torch.device('cuda', torch.cuda.current_device())
    plain, cached = (
        Digits('val200', [dict(type='PackInputs')], cache=cache)
        for cache in (None, 'memory')
    )
    cached.fill_cache()
    loader = DataLoader(cached, 8, collate_fn=default_collate)
    assert f'by index on {gpu}' in speed_up(loader, gpu)
    next(iter(loader))
    torch.cuda.set_sync_debug_mode('error')
    try:
        found = list(loader)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert all(batch['inputs'].device == gpu for batch in found)
    expected = DataLoader(plain, 8, collate_fn=default_collate)
    for one, two in zip(found, expected, strict=True):
        assert is_same(one, two)

"""Times as text, and one answer for all processes."""

import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import torch

from mmdmlora.engine import time_interval
from mmdmlora.engine.hooks import CrashSafeCheckpointHook
from mmdmlora.engine.time_interval import TimeInterval


@pytest.mark.parametrize(
    ('text', 'seconds'),
    [('60s', 60), ('5min', 300), ('1h', 3600), ('0.5 min', 30), ('1.5h', 5400)],
)
def test_times(text, seconds, monkeypatch):
    clock = mock.Mock(return_value=7.0)
    monkeypatch.setattr(time_interval, 'monotonic', clock)
    timer = TimeInterval(text)
    clock.return_value += seconds - 0.5
    assert not timer.has_passed()
    clock.return_value += 0.5
    assert timer.has_passed() and timer.has_passed()
    timer.start()
    assert not timer.has_passed()


@pytest.mark.parametrize(
    'interval',
    ['60', '', 's', '0s', '0.0h', '-5s', '60sec', '1d', '1e3s', 'infs', '1h30min', '٣s']
    + [None, True, 0.5, float('nan'), float('inf'), [60], ('60s',), b'60s'],
)
def test_what_is_no_interval(interval):
    with pytest.raises(
        ValueError, match="interval=.* is neither .*'60s', '5min' or '1h'"
    ):
        CrashSafeCheckpointHook(interval=interval)


@pytest.mark.parametrize('interval', [-1, 0, 1, 20, 3.0, np.int64(5)])
def test_numbers_stay_numbers(interval):
    hook = CrashSafeCheckpointHook(interval)
    assert hook.timer is None and hook.interval == interval


def test_one_process_needs_no_tensor():
    """So no device is waited for."""
    timer = TimeInterval('1s')
    with mock.patch.object(torch, 'tensor', side_effect=AssertionError):
        assert not timer.has_passed()


PROCESS = """
from torch import distributed
from mmdmlora.engine import time_interval

distributed.init_process_group('gloo')
rank = distributed.get_rank()
times = iter([0, 61, 0, 1, 0] if rank == 0 else [0, 1, 0, 99, 99])
time_interval.monotonic = lambda: next(times)
timer = time_interval.TimeInterval('60s')
first = timer.has_passed()
timer.start()
assert (first, timer.has_passed(), timer.has_passed()) == (True, False, False)
distributed.destroy_process_group()
"""


def test_the_clock_of_the_main_process_decides(tmp_path):
    script = tmp_path / 'process.py'
    script.write_text(PROCESS)
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
    result = subprocess.run(
        [sys.executable, *launch, script], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr

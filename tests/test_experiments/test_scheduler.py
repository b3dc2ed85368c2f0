"""Killing what schedules or what runs loses nothing and repeats nothing."""

import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from mmdmlora import cli
from mmdmlora.experiments.reproduce import Request, state
from mmdmlora.experiments.runs import Run
from mmdmlora.experiments.scheduler import Resources, Scheduler
from mmdmlora.experiments.suites import mini_suite
from mmdmlora.experiments.tables import Plan

pytest.importorskip('ray')
COMMAND = [
    *('reproduce', 'table3', '--suite', 'mini', '--tasks', 'digits', '--epochs', '4'),
    *('--methods', 'Linear', 'LoRA', '--trials', '3', '--seeds', '0', '1'),
]
PATIENCE = 300  # seconds
# Both searches: three parts of trials and the best of them; and four final runs.
RUNS = 2 * (3 + 1) + 4


def log_of(folder: Path) -> Path:
    return folder.with_suffix('.log')


def start(folder: Path) -> subprocess.Popen:
    """A driver that writes to a file.

    Ray's processes outlive a driver that is killed, and would keep a pipe open.
    """
    command = [sys.executable, '-m', 'mmdmlora', *COMMAND, '--work-dir', str(folder)]
    with open(log_of(folder), 'w') as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


@pytest.fixture
def nothing_left(tmp_path, monkeypatch):
    """Kill what a test's drivers have left."""
    mark = 'MMDMLORA_TEST', str(tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv(*mark)
        yield
    for process in psutil.process_iter(['environ']):
        environment = process.info['environ'] or {}
        if environment.get(mark[0]) == mark[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def finished(folder: Path) -> dict[str, str]:
    """The records in the store."""
    file = folder / 'results.sqlite'
    if not file.is_file():
        return {}
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute('SELECT key || epochs, record FROM results')
        return dict(rows.fetchall())


def wait_for(folder: Path, count: int, driver: subprocess.Popen) -> None:
    end = time.monotonic() + PATIENCE
    while len(finished(folder)) < count:
        assert driver.poll() is None, log_of(folder).read_text()
        assert time.monotonic() < end
        time.sleep(0.05)


def is_run(process: psutil.Process) -> bool:
    """Whether Ray's process executes a run."""
    return 'ray::execute' in ' '.join(process.cmdline())


def tables(folder: Path) -> str:
    """The report without times."""
    text = (folder / 'report' / 'report.md').read_text()
    return re.sub(r'## Commands.*', '', text, flags=re.S)


@pytest.mark.usefixtures('nothing_left')
def test_killing_worker_and_driver_changes_nothing(tmp_path, monkeypatch):
    # Ray's workers are nice to others by default; here nothing else waits for them.
    monkeypatch.setenv('RAY_worker_niceness', '0')
    killed, undisturbed = tmp_path / 'killed', tmp_path / 'undisturbed'
    driver = start(killed)
    wait_for(killed, 2, driver)
    # A worker dies: Ray starts its run again, which goes on from its checkpoint.
    worker = next(
        p for p in psutil.Process(driver.pid).children(recursive=True) if is_run(p)
    )
    worker.kill()
    wait_for(killed, 6, driver)
    driver.kill()
    driver.wait()
    before = finished(killed)
    assert 6 <= len(before) < RUNS
    again = start(killed)
    assert again.wait(timeout=PATIENCE) == 0, log_of(killed).read_text()
    after = finished(killed)
    assert len(after) == RUNS
    # Of a run that is done again the times would differ.
    assert {key: after[key] for key in before} == before
    cli.main([*COMMAND, '--work-dir', str(undisturbed)])
    assert tables(killed) == tables(undisturbed)
    assert 'Table 3' in log_of(killed).read_text()
    # The row that isn't pruned has a search of its own.
    plan = Plan(mini_suite(settings={'train_cfg.max_epochs': 4}), 3, (0, 1), ('digits',))
    request = Request(('table3',), plan, 'val', killed)
    assert state(request) == 'table3: 2 of 11 searches, 4 of 22 final runs'


def test_runs_that_fail_for_the_same_reason_get_one_message(tmp_path):
    too_short = {'train_cfg.max_epochs': 1}
    runs = [Run('lora/vit-tiny_digits', too_short, seed) for seed in range(3)]
    with Scheduler(tmp_path) as scheduler:
        assert scheduler.results(runs, 'trials') == [None] * 3
        (message,) = scheduler.failures()
    reason, place = message.splitlines()
    assert 'warm' in reason
    assert place.strip().startswith('in mmdmlora train lora/vit-tiny_digits')
    assert place.endswith(', and 2 more')


def test_a_second_driver_is_refused(tmp_path):
    with (
        Scheduler(tmp_path),
        pytest.raises(ValueError, match='another process is at work'),
    ):
        Scheduler(tmp_path)
    with Scheduler(tmp_path):
        pass


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(SystemExit, match=r'pip install "mmdmlora\[experiments\]"'):
        cli.main([*COMMAND, '--work-dir', str(tmp_path)])


@pytest.mark.parametrize('wrong', [dict(cpus=0), dict(gpus=-1.0)])
def test_resources(wrong):
    with pytest.raises(ValueError, match='at least one core'):
        Resources(**wrong)

"""Kill a small run again and again, and compare it with one that never stopped.

    python -m tests.soak_resume --kills 100
    python -m tests.soak_resume --kills 100 --by-iteration

The run prunes branches, passes from stage 1 to stage 2 of the learning scalar, drops
neurons, has its images in memory, flips them at random and keeps one last and one best
checkpoint of 16 MiB and more. It is killed (SIGKILL, all its processes) at random
moments; every third time the
tool waits for a checkpoint that is being written and kills in the middle of that. After
each kill the checkpoint that ``last_checkpoint`` names has to load, and so has the best
one that it knows. In the end everything that training computes is compared bit for bit.
Checkpoints are due by time, so that a kill costs several epochs or iterations, and some
fall into the middle of an accumulation of gradients.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdmlora.apis.run import prepare
from mmdmlora.io.atomic import ENDING
from mmdmlora.registry import HOOKS
from tests.peft_runner import DMLORA, config

EPOCHS_A_KILL = 2
STEPS_AN_EPOCH = 2
PADDING = 2**22  # float32: 16 MiB
# Entries that say when and where a run ran, not what it computed.
INCIDENTAL = {'time', 'data_time', 'memory', 'cfg', 'experiment_name', 'padding'}
# Which checkpoint there was before depends on the clock.
INCIDENTAL |= {'last_ckpt', 'keep_ckpt_ids', 'superseded_ckpts'}
LOGGED = ('loss', 'lr', 'branches', 'scale', 'accuracy/top1')


@HOOKS.register_module()
class PaddingHook(Hook):
    """Makes checkpoints large, so that writing one takes a while."""

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['padding'] = torch.zeros(PADDING)


@dataclass
class Setup:
    """What the runs are made of, and where they go.

    Attributes:
        workers: Numbers of data-loading workers; each start takes one at random.
        interval: Of the checkpoints. None: a third of a second at first, then so long
            as three epochs of the undisturbed run took.
        changes: Settings of the config, by keys with dots.
    """

    out: Path
    epochs: int
    processes: int = 1
    workers: tuple[int, ...] = (0,)
    ema: bool = False
    flips: bool = True
    by_iteration: bool = False
    interval: str | int | None = None
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a soak counted."""

    kills: int = 0
    while_writing: int = 0
    resumes: int = 0
    problems: list[str] = field(default_factory=list)


def train(setup: Setup, work_dir: Path, rank: int, port: int, workers: int) -> None:
    """One process of one start of the run."""
    os.setsid()  # with its data-loading workers, to be killed together
    log = os.open(
        work_dir.with_suffix(f'.{rank}.log'), os.O_CREAT | os.O_WRONLY | os.O_APPEND
    )
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    options: dict = {}
    if setup.processes > 1:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(setup.processes),
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(port),
        )
        options.update(launcher='pytorch')
    if setup.ema:
        options.update(custom_hooks=[dict(type='EMAHook', momentum=0.3)])
    cfg = config(
        work_dir,
        wrapper=DMLORA | dict(drop_rate=0.1),
        epochs=setup.epochs,
        hooks=dict(
            pruning=dict(type='BranchPruningHook', interval=1 / 4),
            scalar=dict(type='LearningScalarHook'),
            monitor=dict(type='AdapterMonitorHook'),
            padding=dict(type='PaddingHook'),
            summary=dict(type='SummaryHook'),
        ),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=setup.epochs),
        resume=True,
        **options,
    )
    cfg.default_hooks.checkpoint.update(
        max_keep_ckpts=1, interval=setup.interval or '0.3s'
    )
    cfg.train_cfg.val_interval = 2
    if setup.by_iteration:
        count_iterations(cfg, setup.epochs * STEPS_AN_EPOCH)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[name].num_workers = workers
        if name != 'test_dataloader':
            cfg[name].dataset.cache = 'memory'
    if workers:
        cfg.train_dataloader.worker_init_fn = dict(type='mmdmlora.epoch_worker_init_fn')
    if setup.flips:
        flip = dict(type='RandomFlip', prob=0.5)
        cfg.train_dataloader.dataset.pipeline.insert(1, flip)
    cfg.merge_from_dict(setup.changes)
    Runner.from_cfg(prepare(cfg)).train()


def count_iterations(cfg: Config, max_iters: int) -> None:
    """Make a run by epochs one by iterations, with images in an endless order."""
    cfg.train_cfg = dict(by_epoch=False, max_iters=max_iters, val_interval=4)
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    cfg.default_hooks.checkpoint.by_epoch = False
    cfg.default_hooks.monitor.interval = 1
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.param_scheduler.update(by_epoch=False, T_max=max_iters)


class Attempt:
    """A start of the run in processes of its own."""

    def __init__(self, setup: Setup, work_dir: Path, workers: int) -> None:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context('fork')
        self.processes = [
            context.Process(target=train, args=(setup, work_dir, rank, port, workers))
            for rank in range(setup.processes)
        ]
        for process in self.processes:
            process.start()

    def is_running(self) -> bool:
        return any(process.is_alive() for process in self.processes)

    def kill(self) -> None:
        for process in random.sample(self.processes, len(self.processes)):
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:  # before its setsid, or already gone
                process.kill()
        self.join()

    def join(self) -> list[int]:
        for process in self.processes:
            process.join()
        return [process.exitcode for process in self.processes]


def partial_files(work_dir: Path) -> list[Path]:
    return list(work_dir.glob(f'.*{ENDING}'))


def saved_epoch(work_dir: Path) -> float:
    """The epoch of the checkpoint that ``last_checkpoint`` names."""
    pointer = work_dir / 'last_checkpoint'
    name = pointer.read_text() if pointer.is_file() else ''
    found = re.search(r'(epoch|iter)_(\d+)\.pth$', name)
    if found is None:
        return 0
    return int(found[2]) / (STEPS_AN_EPOCH if found[1] == 'iter' else 1)


def wait_and_kill(
    attempt: Attempt, work_dir: Path, seconds: float, latest: float, aims: bool
) -> bool:
    """Kill after so many seconds or, aiming, soon after a file has begun to be written.

    A machine may get faster than it was: whatever the time, the checkpoint of the epoch
    ``latest`` ends the wait.

    Returns:
        bool: Whether there was something left to kill.
    """
    start = time.monotonic()
    while aims and attempt.is_running() and not partial_files(work_dir):
        time.sleep(0.001)
        if time.monotonic() - start > 120:
            break
    end = time.monotonic() + (random.uniform(0, 0.03) if aims else seconds)
    while (
        attempt.is_running() and time.monotonic() < end and saved_epoch(work_dir) < latest
    ):
        time.sleep(0.001)
    if not attempt.is_running():
        return False
    attempt.kill()
    return True


def load(path: Path | str) -> dict:
    return torch.load(path, weights_only=True)


def check_files(work_dir: Path, epoch: float) -> tuple[float, list[str]]:
    """The epoch of the last checkpoint, and what is wrong with what a kill left."""
    pointer = work_dir / 'last_checkpoint'
    if not pointer.is_file():
        return 0, ['last_checkpoint has vanished'] if epoch else []
    try:
        last = load(pointer.read_text())
        best = last['message_hub']['runtime_info'].get('best_ckpt')
        if best is not None:
            load(best)
    except Exception as error:
        return epoch, [f'after epoch {epoch}: {error}']
    now = last['meta']['iter'] / STEPS_AN_EPOCH
    return now, [f'epoch {now} after epoch {epoch}'] if now < epoch else []


def values(content: object, where: str = '') -> Iterator[tuple[str, object]]:
    """All values in a checkpoint with their places; paths without their folder."""
    if isinstance(content, dict):
        for key, item in content.items():
            if str(key).removeprefix('train/').removeprefix('val/') not in INCIDENTAL:
                yield from values(item, f'{where}.{key}')
    elif isinstance(content, (list, tuple)):
        for index, item in enumerate(content):
            yield from values(item, f'{where}[{index}]')
    elif isinstance(content, torch.Tensor):
        yield where, (content.dtype, content.shape, content.numpy().tobytes())
    else:
        yield where, Path(content).name if isinstance(content, str) else content


def logged(work_dir: Path) -> dict[tuple, set]:
    """What was logged for each step in all starts of a run together."""
    seen: dict[tuple, set] = {}
    for file in work_dir.glob('*/vis_data/scalars.json'):
        for line in file.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # cut off by a kill
                continue
            for key in LOGGED:
                if key in entry:
                    seen.setdefault((entry['step'], key), set()).add(entry[key])
    return seen


def differences(whole: Path, killed: Path) -> list[str]:
    """What differs between two runs: files, values in them, logged values."""

    def files(work_dir: Path) -> dict[str, Path]:
        return {
            path.name: path
            for path in work_dir.iterdir()
            if path.suffix in ('.pth', ENDING) or path.name == 'last_checkpoint'
        }

    first, second = files(whole), files(killed)
    found = [f'only one run has {name}' for name in first.keys() ^ second.keys()]
    for name in first.keys() & second.keys() - {'last_checkpoint'}:
        one, two = dict(values(load(first[name]))), dict(values(load(second[name])))
        found += [
            f'{name}{where}'
            for where in one.keys() | two.keys()
            if where not in one or where not in two or one[where] != two[where]
        ]
    one, two = logged(whole), logged(killed)
    found += [f'logged {key}' for key in one if one[key] != two.get(key)]
    return found


def soak(setup: Setup, kills: int) -> Outcome:
    """Run once undisturbed, once with kills, and compare."""
    whole, killed = setup.out / 'whole', setup.out / 'killed'
    start = time.monotonic()
    first = Attempt(setup, whole, setup.workers[0])
    while first.is_running() and not (whole / 'last_checkpoint').is_file():
        time.sleep(0.01)
    startup = time.monotonic() - start
    outcome = Outcome()
    if any(first.join()):
        outcome.problems.append(f'the undisturbed run failed: see {whole}.0.log')
        return outcome
    seconds_an_epoch = (time.monotonic() - start - startup) / setup.epochs
    if setup.interval is None:
        setup = replace(setup, interval=f'{3 * seconds_an_epoch:.4f}s')
    epoch = 0.0
    while True:
        attempt = Attempt(setup, killed, random.choice(setup.workers))
        outcome.resumes += epoch > 0
        if outcome.kills == kills:
            break
        # Uniform from the start on, with the length at which the kills use up the run.
        share = (setup.epochs - epoch) / (kills - outcome.kills)
        wanted = 0.8 * seconds_an_epoch * share
        beyond = wanted + math.sqrt(wanted**2 + 2 * wanted * startup)
        delay = random.uniform(0, startup + beyond)
        latest = epoch + max(1, share)
        if not wait_and_kill(attempt, killed, delay, latest, outcome.kills % 3 == 2):
            outcome.problems.append(
                f'ended after {outcome.kills} kills: see {killed}.0.log'
            )
            return outcome
        outcome.kills += 1
        outcome.while_writing += bool(partial_files(killed))
        epoch, problems = check_files(killed, epoch)
        outcome.problems += problems
    if any(attempt.join()):
        outcome.problems.append(f'the last resumption failed: see {killed}.0.log')
        return outcome
    outcome.problems += differences(whole, killed)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description='Kill and resume a small run.')
    parser.add_argument('--kills', type=int, default=100)
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument(
        '--workers',
        type=int,
        nargs='+',
        default=[0],
        help='each start takes one of these',
    )
    parser.add_argument('--ema', action='store_true')
    parser.add_argument(
        '--no-flips', action='store_true', help='no random numbers in the data pipeline'
    )
    parser.add_argument('--by-iteration', action='store_true')
    parser.add_argument(
        '--interval', help='of checkpoints (default: as long as three epochs take)'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    parser.add_argument('--out', type=Path, help='keep the runs there')
    args = parser.parse_args()
    random.seed(args.seed)
    out = args.out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    interval = args.interval
    setup = Setup(
        out,
        epochs=max(8, EPOCHS_A_KILL * args.kills),
        processes=args.processes,
        workers=tuple(args.workers),
        ema=args.ema,
        flips=not args.no_flips,
        by_iteration=args.by_iteration,
        interval=int(interval) if (interval or '').isdecimal() else interval,
        changes=args.cfg_options,
    )
    outcome = soak(setup, args.kills)
    print('| kills | in the middle of a write | resumes | problems and differences |')
    print('|---|---|---|---|')
    print(
        f'| {outcome.kills} | {outcome.while_writing} | {outcome.resumes} | '
        f'{len(outcome.problems)} |'
    )
    if outcome.problems:
        sys.exit('\n'.join(outcome.problems[:20]))
    if not args.out:
        shutil.rmtree(out)


if __name__ == '__main__':
    main()

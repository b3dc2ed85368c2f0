"""Kill a small run again and again, and compare it with one that never stopped.

    python -m tests.soak_resume --kills 100
    python -m tests.soak_resume --kills 100 --by-iteration --interval 3

The run prunes branches, passes from stage 1 to stage 2 of the learning scalar, drops
neurons, has images in memory, flips them at random and keeps one last and one best
checkpoint of 16 MiB and more. By time, last ones are written at other epochs in each
start of the run. It is killed (SIGKILL, all its processes) at random moments; every third
time the tool waits for a checkpoint that is being written and kills soon after that.
After each kill the checkpoint that ``last_checkpoint`` names has to load, and so has the
best one that it knows. In the end everything that training computes is compared bit for
bit, and what was trained again has to have logged the same values. By iteration
checkpoints fall into the middle of an accumulation of gradients.
"""

from __future__ import annotations

import argparse
import json
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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

EPOCHS_A_KILL = 5
STEPS_AN_EPOCH = 2
PADDING = 2**22  # float32: 16 MiB
# Entries that say when and where a run ran, not what it computed.
INCIDENTAL = {'time', 'data_time', 'memory', 'cfg', 'experiment_name', 'padding'}
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
        interval: Of the last checkpoints.
        changes: Settings of the config, by keys with dots.
    """

    out: Path
    epochs: int
    processes: int = 1
    workers: tuple[int, ...] = (0,)
    ema: bool = False
    flips: bool = True
    by_iteration: bool = False
    interval: int | str = '0.5s'
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a soak counted.

    Attributes:
        trained_again: Epochs that kills have cost.
    """

    kills: int = 0
    while_writing: int = 0
    resumes: int = 0
    trained_again: float = 0
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
    cfg.default_hooks.checkpoint.update(max_keep_ckpts=1, interval=setup.interval)
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
        self.work_dir = work_dir
        self.earlier = {*logs(work_dir)}
        context = multiprocessing.get_context('fork')
        self.processes = [
            context.Process(target=train, args=(setup, work_dir, rank, port, workers))
            for rank in range(setup.processes)
        ]
        for process in self.processes:
            process.start()

    def trained_epoch(self) -> float:
        """The epoch that this start has logged last."""
        last = 0
        for file in {*logs(self.work_dir)} - self.earlier:
            last = max(
                map(int, re.findall(r'"iter": (\d+)', file.read_text())), default=0
            )
        return last / STEPS_AN_EPOCH

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


def logs(work_dir: Path) -> Iterator[Path]:
    """What each start of a run has logged."""
    return work_dir.glob('*/vis_data/scalars.json')


def is_writing(work_dir: Path) -> bool:
    return any('.pth.' in file.name for file in partial_files(work_dir))


def moment(
    setup: Setup, attempt: Attempt, kill: int, left: int, epoch: float, startup: float
) -> tuple[Callable[[], bool], float]:
    """When to kill next: so many seconds after something has come true.

    A third of the kills aims at the writing of a checkpoint, a sixth at the start of the
    program, the rest at an epoch that is drawn such that the kills use up the run.
    """
    if kill % 6 == 1 or epoch > setup.epochs - 3:
        return lambda: True, random.uniform(0, startup)
    if kill % 3 == 2:
        return lambda: is_writing(attempt.work_dir), random.uniform(0, 0.03)
    latest = epoch + random.uniform(0, 2) * (setup.epochs - epoch) / left
    latest = min(latest, setup.epochs - 2)
    return lambda: attempt.trained_epoch() > latest, random.uniform(0, 0.05)


def wait_and_kill(attempt: Attempt, is_due: Callable[[], bool], delay: float) -> bool:
    """Kill so many seconds after something has come true.

    Returns:
        bool: Whether there was something left to kill.
    """
    while attempt.is_running() and not is_due():
        time.sleep(0.001)
    time.sleep(delay)
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


def logged(work_dir: Path) -> dict[tuple, list]:
    """What was logged for each step, in all starts of a run together."""
    seen: dict[tuple, list] = {}
    for file in logs(work_dir):
        for line in file.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # cut off by a kill
                continue
            for key in LOGGED:
                if key in entry:
                    seen.setdefault((entry['step'], key), []).append(entry[key])
    return seen


def trained_again(work_dir: Path) -> float:
    """The epochs that several starts of a run have trained, each time but the first."""
    steps = [values for (_, key), values in logged(work_dir).items() if key == 'loss']
    return sum(len(values) - 1 for values in steps) / STEPS_AN_EPOCH


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
    found += [f'logged {key}' for key in one if {*one[key]} != {*two.get(key, [])}]
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
    epoch = 0.0
    while True:
        attempt = Attempt(setup, killed, random.choice(setup.workers))
        outcome.resumes += epoch > 0
        if outcome.kills == kills:
            break
        left = kills - outcome.kills
        when = moment(setup, attempt, outcome.kills, left, epoch, startup)
        if not wait_and_kill(attempt, *when):
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
    outcome.trained_again = trained_again(killed)
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
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    parser.add_argument(
        '--interval',
        type=lambda text: int(text) if text.isdigit() else text,
        default=Setup.interval,
        help='of the last checkpoints: a time, or a number of epochs or iterations',
    )
    parser.add_argument('--out', type=Path, help='keep the runs there')
    args = parser.parse_args()
    random.seed(args.seed)
    out = args.out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    setup = Setup(
        out,
        epochs=max(8, EPOCHS_A_KILL * args.kills),
        processes=args.processes,
        workers=tuple(args.workers),
        ema=args.ema,
        flips=not args.no_flips,
        by_iteration=args.by_iteration,
        interval=args.interval,
        changes=args.cfg_options,
    )
    outcome = soak(setup, args.kills)
    print(
        '| kills | in the middle of a write | resumes | epochs trained again '
        '| problems and differences |'
    )
    print('|---|---|---|---|---|')
    print(
        f'| {outcome.kills} | {outcome.while_writing} | {outcome.resumes} | '
        f'{outcome.trained_again:g} | {len(outcome.problems)} |'
    )
    if outcome.problems:
        sys.exit('\n'.join(outcome.problems[:20]))
    if not args.out:
        shutil.rmtree(out)


if __name__ == '__main__':
    main()

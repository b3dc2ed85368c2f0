"""What a training has left in its working directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdmlora.engine.hooks.adapter_monitor_hook import SCALES_FILE

SCALE = 'scale/'


@dataclass
class RunLog:
    """A training: its settings and what was logged.

    Args:
        folder (Path): The working directory.
        name (str): What tells it from the other runs of a page.
        config (Config): Its settings.
        train (list[dict]): The log lines of training, in the order of their steps.
        val (list[dict]): Those of validations; ``step`` is an epoch in a loop by epochs.
        scales (list[dict]): The scale of each layer (``scale/<layer>``) and the step.
        summary (dict): The content of ``summary.json``, empty in an unfinished run.
        checkpoint (Path, optional): The last checkpoint.
    """

    folder: Path
    name: str
    config: Config
    train: list[dict]
    val: list[dict]
    scales: list[dict]
    summary: dict[str, Any]
    checkpoint: Path | None

    @property
    def places(self) -> list[str]:
        """The names of the adapted places whose scale was logged."""
        names = self.scales[-1] if self.scales else {}
        return [n.removeprefix(SCALE) for n in names if n.startswith(SCALE)]

    @property
    def unit(self) -> str:
        """What the steps of validations and scales count."""
        return 'epoch' if all('epoch' in line for line in self.train) else 'iteration'

    def training_curve(self, key: str) -> tuple[list[float], list[float]]:
        """Where, in :attr:`unit`, a value was logged, and the value."""
        lines = [line for line in self.train if key in line]
        if self.unit == 'iteration':
            return [line['step'] for line in lines], [line[key] for line in lines]
        # A line may lie within an epoch: the last one of an epoch is at its end.
        ends = {line['epoch']: line['iter'] for line in self.train}
        first = min(ends) if ends else 1
        steps_an_epoch = ends[first] / first if ends else 1
        places = [line['iter'] / steps_an_epoch for line in lines]
        return places, [line[key] for line in lines]

    def validation_curves(self) -> dict[str, tuple[list[float], list[float]]]:
        """By the metric's name, where it was measured and its value."""
        names = {name for line in self.val for name, v in line.items() if _is_metric(v)}
        names -= {'step', 'time', 'data_time', 'epoch', 'iter', 'memory'}
        curves = {}
        for name in sorted(names):
            lines = [line for line in self.val if _is_metric(line.get(name))]
            curves[name] = [e['step'] for e in lines], [e[name] for e in lines]
        return curves

    def training_seconds(self) -> float:
        """The time of all steps, without validations."""
        seconds, before = 0.0, 0
        for line in self.train:
            seconds += line.get('time', 0.0) * (line['step'] - before)
            before = line['step']
        return seconds


def read_run(folder: Path) -> RunLog:
    """Read a working directory; a resumed training has left one log for each start.

    Raises:
        ValueError: If no training was logged there.
    """
    logs = sorted(folder.glob('*/vis_data/scalars.json'))
    trainings = [(file, lines) for file in logs if _has_steps(lines := _lines(file))]
    if not trainings:
        raise ValueError(
            f'{str(folder)!r} holds no log of a training (<time>/vis_data/scalars.json)'
            ': name the working directory of a run, such as '
            'work_dirs/dmlora/vit-tiny_digits.'
        )
    newest = trainings[-1][0].with_name('config.py')
    if not newest.is_file():
        raise ValueError(f'{str(newest)!r}, the settings of the run, is missing.')
    train: list[dict] = []
    val: list[dict] = []
    scales: list[dict] = []
    for file, lines in trainings:
        train = _joined(train, [line for line in lines if 'lr' in line])
        others = [line for line in lines if 'lr' not in line]
        val = _joined(val, [line for line in others if not _is_of_scales(line)])
        # Logs of earlier versions have the scales among the other lines.
        earlier = [line for line in others if _is_of_scales(line)]
        scales = _joined(scales, earlier + _lines(file.with_name(SCALES_FILE)))
    summary = folder / 'summary.json'
    return RunLog(
        folder=folder,
        name=folder.name,
        config=Config.fromfile(newest),
        train=train,
        val=val,
        scales=scales,
        summary=json.loads(summary.read_text()) if summary.is_file() else {},
        checkpoint=_last_checkpoint(folder),
    )


def _last_checkpoint(folder: Path) -> Path | None:
    """What ``last_checkpoint`` names, in this folder: the run may have been moved."""
    pointer = folder / 'last_checkpoint'
    if not pointer.is_file():
        return None
    named = Path(pointer.read_text().strip())
    return next((p for p in (folder / named.name, named) if p.is_file()), None)


def _joined(before: list[dict], after: list[dict]) -> list[dict]:
    """The lines of a start and of its resumption, which may have repeated some steps."""
    if not after:
        return before
    begin = after[0]['step']
    return [line for line in before if line['step'] < begin] + after


def _has_steps(lines: list[dict]) -> bool:
    return any('lr' in line for line in lines)


def _is_of_scales(line: dict) -> bool:
    return any(name.startswith(SCALE) for name in line)


def _lines(file: Path) -> list[dict]:
    """The lines of a log; a killed run may have left the last one unfinished."""

    def read() -> Iterator[dict]:
        for text in file.read_text().splitlines() if file.is_file() else ():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and 'step' in line:
                yield line

    return list(read())


def _is_metric(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

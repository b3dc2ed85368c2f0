"""``mmdmlora search``: one search, and the best setting as a config."""

from __future__ import annotations

import shlex
from pathlib import Path

from mmengine.config import Config

from mmdmlora.io import atomic_write

from .runs import Run
from .scheduler import Resources, Scheduler, Show
from .search import FIRST_RUNG, Choice, Search, run_searches


def choose(
    search: Search,
    folder: Path,
    resources: Resources,
    show: Show,
) -> str:
    """Run a search and write ``best.py``, a config with the best settings.

    Args:
        search: What to choose.
        folder: Where runs, results and the config go; finished runs in it are kept.
        resources: What each run gets, and where.
        show: See :data:`~mmdmlora.experiments.scheduler.Show`.

    Returns:
        str: A table of all trials in Markdown, and where the config is.

    Raises:
        ValueError: If every trial has failed; it says why.
    """
    with Scheduler(folder, resources, show) as scheduler:
        choice = run_searches([search], scheduler.results)[search.key]
        failures = scheduler.failures()
    if choice.best is None:
        raise ValueError('\n  '.join(['every trial has failed.', *failures]))
    run = Run(search.config, {**search.fixed, **choice.best.settings})
    file = folder / 'best.py'
    with atomic_write(file) as stream:
        stream.write(Config(run.resolved()).pretty_text.encode())
    return '\n'.join(
        [
            *_table(choice),
            '',
            *_left_out(search),
            *(f'failed: {failure}' for failure in failures),
            f'Best: {choice.best.accuracy:.1f} % on the validation images. Train it on '
            f'all and test it with: mmdmlora train {shlex.quote(str(file))}',
        ]
    )


def _left_out(search: Search) -> list[str]:
    names = [key for key in search.space.values if key not in search.sampler.space.values]
    return [f'{search.config} has no {name}: it was left out.' for name in names]


def _table(choice: Choice) -> list[str]:
    keys = [*choice.trials[0].settings]
    lines = [
        ['trial', *keys, 'batches of an epoch', 'validation accuracy (%)'],
        ['---'] * (len(keys) + 3),
    ]
    for number, trial in enumerate(choice.trials):
        values = [str(trial.settings[key]) for key in keys]
        best = ' (best)' if trial is choice.best else ''
        share = 'all' if trial.is_whole else f'{FIRST_RUNG:.0%}'
        accuracy = 'failed' if trial.has_failed else f'{trial.accuracy:.2f}{best}'
        lines.append([str(number), *values, share, accuracy])
    return [f'| {" | ".join(cells)} |' for cells in lines]

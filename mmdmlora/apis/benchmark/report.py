"""The result of a benchmark as a table and a plot, and the machine that gave it."""

from __future__ import annotations

import io
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from mmdmlora._requirements import extra
from mmdmlora.io.atomic import atomic_write

MIB = 2**20


def check_plotting() -> None:
    """Refuse a plot without matplotlib.

    Raises:
        MissingExtraError: If it isn't installed.
    """
    with extra('benchmark'):
        import matplotlib.figure  # noqa: F401


def machine(device: torch.device) -> str:
    """The name of the GPU or the processor."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(':')[2] for line in lines if line.startswith('model name')]
    name = models[0].strip() if models else platform.processor() or platform.machine()
    return f'{name}, {os.cpu_count()} cores'


def markdown(rows: Sequence[dict], first: str) -> str:
    """The rows of a benchmark in Markdown.

    Args:
        rows: See :func:`~mmdmlora.apis.benchmark.measurement.rows`.
        first: The method that the others are compared with.
    """
    titles = [
        'method',
        'trained parameters',
        'step (ms, median)',
        'quartiles (ms)',
        f'ratio to {first}',
        'ratio to 2 forwards',
        'evaluation / forward',
        'images/s',
        'step memory (MiB)',
        'peak memory (MiB)',
        'operations',
    ]
    lines = [titles, ['---'] * len(titles)]
    for row in rows:
        low, high = row['step_seconds_quartiles']
        lines.append(
            [
                row['method'],
                f'{row["trained_parameters"]:,}',
                f'{1000 * row["step_seconds"]:.1f}',
                f'{1000 * low:.1f} to {1000 * high:.1f}',
                f'{row["ratio_to_first"]:.3f}',
                f'{row["ratio_to_two_forwards"]:.3f}',
                f'{row["evaluation_ratio_to_forward"]:.3f}',
                f'{row["images_per_second"]:,.1f}',
                f'{row["step_bytes"] / MIB:,.1f}',
                f'{row["peak_bytes"] / MIB:,.1f}',
                f'{row["operations"]:,}',
            ]
        )
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)


def plot(rows: Sequence[dict], title: str, file: Path) -> None:
    """Draw the step time of each method, with quartiles, and the floor.

    Args:
        rows: See :func:`~mmdmlora.apis.benchmark.measurement.rows`.
        title: What stands above the plot.
        file: The picture; its ending is the format.
    """
    from matplotlib.figure import Figure

    floor, *methods = rows
    medians = [1000 * row['step_seconds'] for row in methods]
    quartiles = [[1000 * q for q in row['step_seconds_quartiles']] for row in methods]
    pairs = list(zip(medians, quartiles, strict=True))
    spread = [[m - low for m, (low, _) in pairs], [high - m for m, (_, high) in pairs]]
    figure = Figure(figsize=(8, 1.8 + 0.35 * len(rows)), layout='constrained')
    axes = figure.add_subplot()
    places = range(len(methods))
    axes.barh(places, medians, xerr=spread, height=0.6, color='#9ecae9', capsize=3)
    axes.set_yticks(places, [row['method'] for row in methods])
    axes.invert_yaxis()
    forward = 1000 * floor['step_seconds']
    axes.axvline(forward, color='black', linestyle=':', label='forward')
    axes.axvline(2 * forward, color='black', linestyle='--', label='2 forwards')
    axes.set_xlabel('step time (ms), median and quartiles')
    axes.margins(y=0.02)
    figure.suptitle(title, fontsize=8, wrap=True)
    axes.spines[['top', 'right']].set_visible(False)
    figure.legend(loc='outside lower center', ncols=2, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format=file.suffix[1:], dpi=150)
    with atomic_write(file) as opened:
        opened.write(picture.getvalue())

"""A benchmark of methods on one backbone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from mmdmlora.engine.compiling import check_compiler
from mmdmlora.engine.freed_memory import keep_freed_memory
from mmdmlora.io import expand_home

from ..compose import find_part, load_config
from ..locations import config_root
from .measurement import rows
from .methods import build_classifier, find_method
from .report import machine
from .steps import ForwardStep, TrainingStep, default_device, measure_side_by_side


@dataclass(frozen=True)
class Settings:
    """What is measured, and how.

    Attributes:
        backbone: The name of a file of ``configs/_base_/backbones``, or the path of one
            of the same kind, which ends in ``.py``.
        methods: See :mod:`~mmdmlora.apis.benchmark.methods`. The others are compared
            with the first.
        batch: Images a step.
        steps: Measured steps of each method.
        device: ``cpu`` or a CUDA device.
        dtype: ``float32``, or ``bfloat16`` for autocast.
        is_compiled: Whether steps are timed with ``torch.compile``.

    Raises:
        ValueError: If a number or the device doesn't fit.
    """

    backbone: str = 'vit-b16'
    methods: tuple[str, ...] = ('lora', 'dmlora')
    batch: int = 8
    steps: int = 20
    device: str = default_device()
    dtype: str = 'float32'
    is_compiled: bool = False

    def __post_init__(self) -> None:
        if not self.methods:
            raise ValueError('methods must name at least one method, got none.')
        for name in ('batch', 'steps'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}.')
        if self.dtype not in ('float32', 'bfloat16'):
            raise ValueError(f'dtype must be float32 or bfloat16, got {self.dtype!r}.')
        _check_device(self.device)

    def __str__(self) -> str:
        return (
            f'{self.backbone}, batch {self.batch}, {self.dtype}, '
            f'{"compiled" if self.is_compiled else "eager"}, '
            f'{self.steps} interleaved steps each, '
            f'{machine(torch.device(self.device))}, torch {torch.__version__}, '
            f'threads: {torch.get_num_threads()}'
        )


def benchmark(
    settings: Settings, progress: Callable[[int], None] = lambda finished: None
) -> list[dict]:
    """Measure the plain forward and the methods in turn.

    As in a training on a CPU, this process then keeps the memory that it frees.

    Args:
        settings: What to measure.
        progress: Called with the number of finished rounds after each.

    Returns:
        list[dict]: See :func:`~mmdmlora.apis.benchmark.measurement.rows`.

    Raises:
        ValueError: If a name is unknown, a method doesn't fit the backbone, or nothing
            can be compiled here. All of it before the first step.
    """
    base = config_root() / '_base_'
    methods = [find_method(name, base / 'methods') for name in settings.methods]
    config = load_config(_backbone_file(settings.backbone, base))
    if settings.is_compiled:
        check_compiler(settings.device)
    if settings.device == 'cpu':
        keep_freed_memory()
    plain = config.model.to_dict()
    arguments = (
        config.input_size,
        settings.batch,
        settings.device,
        getattr(torch, settings.dtype),
        settings.is_compiled,
    )
    models = [method.build(copy.deepcopy(plain)) for method in methods]
    floor = ForwardStep('forward', build_classifier(plain), *arguments)
    steps = [
        TrainingStep(method.name, model, *arguments)
        for method, model in zip(methods, models, strict=True)
    ]
    # All models share the code of their classes, and so one count of compilations.
    with torch._dynamo.config.patch(recompile_limit=64 * (1 + len(steps))):
        measured = measure_side_by_side([floor, *steps], settings.steps, 2, progress)
    return rows(measured[0], measured[1:])


def report(settings: Settings, result: Sequence[dict]) -> dict:
    """All that a benchmark gave, for a JSON file. Times are in seconds."""
    return dict(
        settings=asdict(settings),
        machine=machine(torch.device(settings.device)),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        rows=list(result),
    )


def _backbone_file(name: str, base: Path) -> Path:
    if not name.endswith('.py'):
        return find_part(base, 'backbone', dict(backbone=name))
    file = Path(expand_home(name))
    if not file.is_file():
        raise ValueError(
            f'there is no file {name!r}: name one like those of {base / "backbones"}, or '
            'one of those without its ending.'
        )
    return file


def _check_device(name: str) -> None:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'{name!r} is no device: use cpu, cuda or cuda:1.') from error
    if device.type not in ('cpu', 'cuda'):
        raise ValueError(f'{name!r} can not be measured: use cpu or cuda.')
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f'{name!r} is not there, {torch.cuda.device_count()} GPUs are: name another '
            'device, e.g. cpu.'
        )

"""Step time and memory of methods, measured side by side."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from mmengine.config import Config
from torch import nn

from mmdmlora.registry import MODELS

# Every method under the name that the command line takes. All adapt q and v at rank 8;
# mmpretrain's LoRAModel knows no parts and adapts the whole qkv.
METHODS: dict[str, dict] = {
    'lora': dict(type='mmdmlora.LoRAModel', rank=8),
    'dmlora': dict(type='mmdmlora.DMLoRAModel', rank=8, num_branches=8),
    'dmlora-ls': dict(
        type='mmdmlora.DMLoRAModel', rank=8, num_branches=8, learn_scale=True
    ),
    'linear': dict(type='mmdmlora.LinearProbeModel'),
    'mmpretrain-lora': dict(
        type='mmpretrain.LoRAModel', rank=8, alpha=8, targets=[dict(type='.*qkv')]
    ),
}


@dataclass
class Timing:
    """What was measured of one method."""

    name: str
    trained: int
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0


class Trainee:
    """A classifier and its optimizer, ready to take steps on one random batch."""

    def __init__(
        self, name: str, config: Config, batch: int, device: str, dtype: torch.dtype
    ) -> None:
        torch.manual_seed(0)
        model = copy.deepcopy(config.model)
        module = dict(model.backbone, init_cfg=None)
        model.backbone = dict(copy.deepcopy(METHODS[name]), module=module)
        self.model = MODELS.build(model).to(device).train()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=1e-4)
        self.timing = Timing(name, sum(p.numel() for p in trained))
        size = config.input_size
        self.images = torch.randn(batch, 3, size, size, device=device)
        self.labels = torch.randint(
            config.model.head.num_classes, (batch,), device=device
        )
        self.device, self.dtype = device, dtype

    def step(self) -> None:
        """One training step: forward, backward, optimizer."""
        self.optimizer.zero_grad()
        with torch.autocast(
            torch.device(self.device).type, self.dtype, self.dtype != torch.float32
        ):
            logits = self.model(self.images, mode='tensor')
            loss = nn.functional.cross_entropy(logits.float(), self.labels)
        loss.backward()
        self.optimizer.step()

    def measure(self) -> None:
        """Time one step, and on a GPU note its peak memory."""
        on_gpu = self.device.startswith('cuda')
        if on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        self.step()
        if on_gpu:
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated()
            self.timing.peak_bytes = max(self.timing.peak_bytes, peak)
        self.timing.seconds.append(time.perf_counter() - start)


def benchmark(
    config: Config,
    methods: Sequence[str],
    batch: int,
    steps: int,
    device: str = 'cpu',
    dtype: torch.dtype = torch.float32,
    warmup: int = 2,
    progress: Callable[[int], None] = lambda step: None,
) -> list[Timing]:
    """Measure training steps of several methods in turn, so that drift hits all alike.

    On a GPU all models stay in memory at once; a method's peak is the memory in use
    during its own steps less what the other models hold.

    Args:
        config: An unwrapped classifier (``model``) and its ``input_size``.
        methods: Names in :data:`METHODS`.
        batch: Images a step.
        steps: Measured steps of each method.
        device: ``cpu`` or a CUDA device.
        dtype: float32, or bfloat16 for autocast.
        warmup: Steps before the measured ones.
        progress: Called with the number of each finished round.

    Raises:
        ValueError: If a method is unknown.
    """
    if unknown := set(methods) - set(METHODS):
        raise ValueError(f'unknown methods {sorted(unknown)}: known are {list(METHODS)}.')
    trainees = [Trainee(name, config, batch, device, dtype) for name in methods]
    held = [_held_bytes(trainee) for trainee in trainees]
    for _ in range(warmup):
        for trainee in trainees:
            trainee.step()
    for step in range(steps):
        for trainee in trainees:
            trainee.measure()
        progress(step + 1)
    for trainee, own in zip(trainees, held, strict=True):
        if trainee.timing.peak_bytes:
            trainee.timing.peak_bytes -= sum(held) - own
    return [trainee.timing for trainee in trainees]


def _held_bytes(trainee: Trainee) -> int:
    tensors = [*trainee.model.parameters(), *trainee.model.buffers(), trainee.images]
    return sum(t.numel() * t.element_size() for t in tensors)


def table(timings: Sequence[Timing]) -> str:
    """The measurements in Markdown; ratios are medians of step-by-step quotients."""
    base = timings[0]
    rows = [
        '| method | trained | step (ms, median) | min to max | ratio to '
        f'{base.name} | peak memory (MiB) |',
        '|---|---|---|---|---|---|',
    ]
    for timing in timings:
        ms = [1000 * s for s in timing.seconds]
        pairs = zip(timing.seconds, base.seconds, strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        peak = f'{timing.peak_bytes / 2**20:,.0f}' if timing.peak_bytes else '-'
        rows.append(
            f'| {timing.name} | {timing.trained:,} | {statistics.median(ms):.1f} | '
            f'{min(ms):.1f} to {max(ms):.1f} | {ratio:.3f} | {peak} |'
        )
    return '\n'.join(rows)

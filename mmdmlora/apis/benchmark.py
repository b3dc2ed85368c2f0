"""Step time and memory of methods, measured side by side."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmdmlora.quiet_log import quiet_log
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


def default_device() -> str:
    """The GPU where there is one."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


@dataclass
class Timing:
    """What was measured of one method.

    Attributes:
        name: The method.
        trained: Number of trained parameters, with the head.
        seconds: The duration of each step.
        step_bytes: Memory that a training step needs beside the weights, see
            :meth:`Trainee.measure_memory`.
    """

    name: str
    trained: int
    seconds: list[float] = field(default_factory=list)
    step_bytes: int = 0


class Trainee:
    """A classifier and its optimizer, ready to take steps on one random batch.

    Args:
        name: What to call it.
        model: Config of the classifier.
        size: Height and width of the images.
        batch: Images a step.
        device: ``cpu`` or a CUDA device.
        dtype: float32, or bfloat16 for autocast.
    """

    def __init__(
        self,
        name: str,
        model: dict,
        size: int,
        batch: int,
        device: str = 'cpu',
        dtype: torch.dtype = torch.float32,
    ) -> None:
        torch.manual_seed(0)
        with quiet_log():
            self.model = MODELS.build(copy.deepcopy(model)).to(device).train()
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-3, weight_decay=1e-4)
        self.timing = Timing(name, sum(p.numel() for p in self.trained))
        classes = model['head']['num_classes']
        self.images = torch.randn(batch, 3, size, size, device=device)
        self.labels = torch.randint(classes, (batch,), device=device)
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
        """Time one step."""
        self._wait()
        start = time.perf_counter()
        self.step()
        self._wait()
        self.timing.seconds.append(time.perf_counter() - start)

    def measure_memory(self) -> None:
        """Measure what a step needs beside the weights.

        On a GPU: the peak of the allocated memory above what was held before the first
        gradient. On a CPU, where nothing counts allocations: what autograd keeps for
        backward, plus gradients and optimizer states.
        """
        if self.device.startswith('cuda'):
            self._wait()
            before = torch.cuda.memory_allocated() - self._state_bytes()
            torch.cuda.reset_peak_memory_stats()
            self.step()
            self._wait()
            self.timing.step_bytes = torch.cuda.max_memory_allocated() - before
            return
        weights = {t.untyped_storage().data_ptr() for t in self.model.parameters()}
        saved: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self.step()
        self.timing.step_bytes = sum(saved.values()) + self._state_bytes()

    def _state_bytes(self) -> int:
        """Gradients and optimizer states."""
        gradients = [p.grad for p in self.trained if p.grad is not None]
        states = [
            value
            for state in self.optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ]
        return _bytes([*gradients, *states])

    def _wait(self) -> None:
        if self.device.startswith('cuda'):
            torch.cuda.synchronize()


def measure_side_by_side(
    trainees: Sequence[Trainee],
    steps: int,
    warmup: int = 2,
    progress: Callable[[int], None] = lambda step: None,
) -> list[Timing]:
    """Measure training steps of several models in turn, so that drift hits all alike.

    Args:
        trainees: The models.
        steps: Measured steps of each.
        warmup: Steps before the measured ones.
        progress: Called with the number of each finished round.
    """
    for trainee in trainees:
        for _ in range(warmup):
            trainee.step()
        trainee.measure_memory()
    for step in range(steps):
        for trainee in trainees:
            trainee.measure()
        progress(step + 1)
    return [trainee.timing for trainee in trainees]


def build_trainees(
    config: Config, methods: Sequence[str], batch: int, device: str, dtype: torch.dtype
) -> list[Trainee]:
    """Wrap one classifier by several methods, without pre-trained weights.

    Args:
        config: An unwrapped classifier (``model``) and its ``input_size``.
        methods: Names in :data:`METHODS`.
        batch: Images a step.
        device: ``cpu`` or a CUDA device.
        dtype: float32, or bfloat16 for autocast.

    Raises:
        ValueError: If a method is unknown.
    """
    if unknown := set(methods) - set(METHODS):
        raise ValueError(f'unknown methods {sorted(unknown)}: known are {list(METHODS)}.')
    trainees = []
    for name in methods:
        model = copy.deepcopy(config.model)
        module = dict(model.backbone, init_cfg=None)
        model.backbone = dict(copy.deepcopy(METHODS[name]), module=module)
        trainees.append(Trainee(name, model, config.input_size, batch, device, dtype))
    return trainees


def table(timings: Sequence[Timing]) -> str:
    """The measurements in Markdown; ratios are medians of step-by-step quotients."""
    base = timings[0]
    rows = [
        '| method | trained | step (ms, median) | min to max | ratio to '
        f'{base.name} | step memory (MiB) |',
        '|---|---|---|---|---|---|',
    ]
    for timing in timings:
        ms = [1000 * s for s in timing.seconds]
        pairs = zip(timing.seconds, base.seconds, strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        rows.append(
            f'| {timing.name} | {timing.trained:,} | {statistics.median(ms):.1f} | '
            f'{min(ms):.1f} to {max(ms):.1f} | {ratio:.3f} | '
            f'{timing.step_bytes / 2**20:,.1f} |'
        )
    return '\n'.join(rows)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)

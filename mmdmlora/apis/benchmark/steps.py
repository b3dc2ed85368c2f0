"""Forward passes and training steps on one random batch, measured in turn."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmdmlora.engine.bfloat16_optim_wrapper import training_autocast
from mmdmlora.models.peft_model import find_wrappers

from .measurement import Measurement


def default_device() -> str:
    """The GPU where there is one."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


class OperationCount(TorchDispatchMode):
    """Counts the operations that PyTorch dispatches inside this context.

    Attributes:
        by_name (Counter[str]): How often each was, such as ``aten.mm.default``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many there were."""
        return self.by_name.total()

    def __torch_dispatch__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        self.by_name[str(func)] += 1
        return func(*args, **(kwargs or {}))


class ForwardStep:
    """A forward in evaluation mode without gradients, the floor of every method.

    Args:
        name: What to call it.
        model: Maps images (B, 3, size, size) to logits (B, classes).
        size: Height and width of the images.
        batch: Images a step, B.
        device: ``cpu`` or a CUDA device.
        dtype: float32, or bfloat16 for autocast.
        is_compiled: Whether the timed steps use ``torch.compile``.
    """

    _is_training = False

    def __init__(
        self,
        name: str,
        model: nn.Module,
        size: int,
        batch: int,
        device: str = 'cpu',
        dtype: torch.dtype = torch.float32,
        is_compiled: bool = False,
    ) -> None:
        torch.manual_seed(0)
        self.model = model.to(device)
        self.model.train(self._is_training)
        self.trained: list[nn.Parameter] = []
        self.images = torch.randn(batch, 3, size, size, device=device)
        self.device, self.dtype = torch.device(device), dtype
        self.timed_forward = torch.compile(self.model) if is_compiled else self.model
        self.measurement = Measurement(
            name,
            trained=0,
            batch=batch,
            weight_bytes=_bytes([*model.parameters(), *model.buffers()]),
        )

    @torch.no_grad()
    def step(self, forward: Callable[[Tensor], Tensor]) -> None:
        """One step with the model, or its compiled form."""
        self._logits(forward)

    def measure_counts(self) -> None:
        """Count the operations of a step, and what it needs beside the weights.

        On a GPU: the peak of the allocated memory above what was held before the first
        gradient. On a CPU, where nothing counts allocations: what autograd keeps for
        backward without compilation, plus gradients and optimizer states.
        """
        with OperationCount() as counted:
            self.step(self.model)
        self.measurement.operations = counted.count
        if self.device.type == 'cuda':
            self._wait()
            before = torch.cuda.memory_allocated(self.device) - self._state_bytes()
            torch.cuda.reset_peak_memory_stats(self.device)
            self.step(self.timed_forward)
            self._wait()
            peak = torch.cuda.max_memory_allocated(self.device)
            self.measurement.step_bytes = peak - before
        else:
            kept = self._bytes_for_backward()
            self.measurement.step_bytes = kept + self._state_bytes()

    def measure_step(self) -> None:
        """Time one step."""
        self.measurement.seconds.append(self._time(self.step))

    def measure_evaluation(self) -> None:
        """Time one forward in evaluation."""
        self.measurement.evaluation_seconds.append(self._time_evaluation())

    def _time(self, step: Callable) -> float:
        self._wait()
        start = time.perf_counter()
        step(self.timed_forward)
        self._wait()
        return time.perf_counter() - start

    def _time_evaluation(self) -> float:
        return self._time(self.step)

    def _logits(self, forward: Callable[[Tensor], Tensor]) -> Tensor:
        with self._precision():
            return forward(self.images)

    def _precision(self) -> AbstractContextManager:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def _bytes_for_backward(self) -> int:
        weights = {t.untyped_storage().data_ptr() for t in self.model.parameters()}
        saved: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self.step(self.model)
        return sum(saved.values())

    def _state_bytes(self) -> int:
        """Gradients and optimizer states."""
        return 0

    def _wait(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)


class TrainingStep(ForwardStep):
    """A training step with AdamW: forward, backward, optimizer.

    The optimizer has its states from the start, as after the first steps of a run: also
    those of branches that were not drawn yet.
    """

    _is_training = True

    def __init__(self, name: str, model: nn.Module, *args: Any, **kwargs: Any) -> None:
        super().__init__(name, model, *args, **kwargs)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.measurement.trained = sum(p.numel() for p in self.trained)
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-3, weight_decay=1e-4)
        for parameter in self.trained:
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            classes = self._logits(self.model).shape[1]
        self.labels = torch.randint(classes, (len(self.images),), device=self.device)

    def step(self, forward: Callable[[Tensor], Tensor]) -> None:
        self.optimizer.zero_grad()
        logits = self._logits(forward)
        nn.functional.cross_entropy(logits.float(), self.labels).backward()
        self.optimizer.step()

    def _precision(self) -> AbstractContextManager:
        if self.dtype == torch.bfloat16 and self.model.training:
            return training_autocast(self.device.type, self.model)
        return super()._precision()

    @torch.no_grad()
    def _time_evaluation(self) -> float:
        self.model.eval()
        with ExitStack() as folded:
            for wrapper in find_wrappers(self.model):
                with suppress(ValueError):
                    folded.enter_context(wrapper.folded())
            self._logits(self.timed_forward)
            seconds = self._time(self._logits)
        self.model.train()
        return seconds

    def _state_bytes(self) -> int:
        gradients = [p.grad for p in self.trained if p.grad is not None]
        states = [
            value
            for state in self.optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ]
        return _bytes([*gradients, *states])


def measure_side_by_side(
    steps: Sequence[ForwardStep],
    rounds: int,
    warmup: int = 2,
    progress: Callable[[int], None] = lambda finished: None,
) -> list[Measurement]:
    """Measure several models in turn, so that a machine's drift hits all alike.

    Every other round goes backwards, so that no model is always the later one. All
    evaluations come after all steps: the first step after an evaluation looks up the
    branches again, which a training does once a validation.

    Args:
        steps: The steps of the models.
        rounds: Measured steps of each, and measured evaluations.
        warmup: Steps before the measured ones.
        progress: Called with the number of finished rounds after each, up to twice
            ``rounds``.
    """
    for step in steps:
        for _ in range(warmup):
            step.step(step.timed_forward)
        step.measure_counts()
    measures = [ForwardStep.measure_step] * rounds
    measures += [ForwardStep.measure_evaluation] * rounds
    for finished, measure in enumerate(measures, 1):
        for step in steps if finished % 2 else reversed(steps):
            measure(step)
        progress(finished)
    return [step.measurement for step in steps]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)

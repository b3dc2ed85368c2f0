"""What is measured of one method, and how methods are compared."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Measurement:
    """What was measured of one method.

    Attributes:
        name: The method.
        trained: Number of trained parameters, with the head.
        batch: Images a step.
        seconds: The duration of each step.
        evaluation_seconds: The durations of forwards in evaluation, with weights folded
            where the method can be merged.
        step_bytes: Memory that a step needs beside the weights, see
            :meth:`~mmdmlora.apis.benchmark.steps.ForwardStep.measure_counts`.
        weight_bytes: Memory of parameters and buffers.
        operations: Operations that PyTorch dispatches in a step without compilation.
    """

    name: str
    trained: int
    batch: int = 1
    seconds: list[float] = field(default_factory=list)
    evaluation_seconds: list[float] = field(default_factory=list)
    step_bytes: int = 0
    weight_bytes: int = 0
    operations: int = 0

    @property
    def median(self) -> float:
        """Median duration of a step in seconds."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The durations in seconds between which half of the steps lie."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        low, _, high = statistics.quantiles(self.seconds, method='inclusive')
        return low, high

    @property
    def images_per_second(self) -> float:
        return self.batch / self.median

    @property
    def peak_bytes(self) -> int:
        """Weights, and what a step needs beside them."""
        return self.weight_bytes + self.step_bytes

    def ratio_to(self, other: Measurement) -> float:
        """The median quotient of steps that were measured next to each other."""
        return _median_quotient(self.seconds, other.seconds)


def rows(floor: Measurement, methods: Sequence[Measurement]) -> list[dict]:
    """The table, one dict a row.

    Args:
        floor: The plain forward, which is the first row.
        methods: The methods; the first is what the others are compared with.
    """
    return [
        dict(
            method=each.name,
            trained_parameters=each.trained,
            step_seconds=each.median,
            step_seconds_quartiles=each.quartiles,
            ratio_to_first=each.ratio_to(methods[0]),
            ratio_to_two_forwards=each.ratio_to(floor) / 2,
            evaluation_ratio_to_forward=_median_quotient(
                each.evaluation_seconds, floor.evaluation_seconds
            ),
            images_per_second=each.images_per_second,
            step_bytes=each.step_bytes,
            peak_bytes=each.peak_bytes,
            operations=each.operations,
            seconds=each.seconds,
            evaluation_seconds=each.evaluation_seconds,
        )
        for each in (floor, *methods)
    ]


def _median_quotient(numerators: list[float], denominators: list[float]) -> float:
    pairs = zip(numerators, denominators, strict=True)
    return statistics.median(a / b for a, b in pairs)

"""Noticing that tensors were written to."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor


class Writes:
    """Which tensors there are and how often each was written to.

    Two of them are equal if nothing has been written in between. Writes through ``.data``
    can't be seen.

    Args:
        tensors: The tensors. PyTorch counts no writes to inference tensors: with one
            among them this is equal to no other.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = list(tensors)
        self.counts = self._count()

    def happened(self) -> bool:
        """Whether one of them has been written to since."""
        return self.counts != self._count()

    def _count(self) -> list[int]:
        return [-1 if t.is_inference() else t._version for t in self.tensors]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Writes)
            and self.counts == other.counts
            and -1 not in self.counts
            and all(a is b for a, b in zip(self.tensors, other.tensors, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]

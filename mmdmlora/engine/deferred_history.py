"""Logged values that stay on their device until somebody reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

MOST_PENDING = 1000


class DeferredHistory(HistoryBuffer):
    """mmengine's ``HistoryBuffer``, whose newest values may still be on a device.

    Reading anything from it fetches all of them in one copy, so that a device is waited
    for as often as somebody reads, not as often as a value is written.

    Args:
        history (HistoryBuffer): What was logged before.

    Note:
        Copies and pickles are mmengine's class. At most 1,000 values are pending.
    """

    def __init__(self, history: HistoryBuffer) -> None:
        self._pending: list[Tensor] = []
        super().__init__(*history.data, max_length=history.max_length)

    @property
    def pending(self) -> int:
        """Number of values that nobody has read yet."""
        return len(self._pending)

    def defer(self, value: Tensor) -> None:
        """Append a value without reading it.

        Args:
            value: One element, of any shape; a view of it is kept.
        """
        self._pending.append(value.detach().reshape(()))
        if len(self._pending) == MOST_PENDING:
            self._fetch()

    @property
    def _log_history(self) -> np.ndarray:
        self._fetch()
        return self._values

    @_log_history.setter
    def _log_history(self, values: np.ndarray) -> None:
        self._values = values

    @property
    def _count_history(self) -> np.ndarray:
        self._fetch()
        return self._counts

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._counts = counts

    def _fetch(self) -> None:
        if not self._pending:
            return
        values = torch.stack(self._pending).tolist()
        self._pending.clear()
        counts = [1] * len(values)
        self._values = np.append(self._values, values)[-self.max_length :]
        self._counts = np.append(self._counts, counts)[-self.max_length :]

    def __reduce__(self) -> tuple[Any, ...]:
        return HistoryBuffer, (self._log_history, self._count_history, self.max_length)
